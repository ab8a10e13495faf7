package mapreduce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// Registry holds the jobs that a process can run, by name. A coordinator and its
// workers are started with registries of the same jobs, as only names and
// arguments travel between them. A Registry does not change and may be shared.
type Registry struct {
	jobs map[string]*definition
}

// NewRegistry returns a registry of jobs. The error names the job that is wrong,
// or the name that two have in common.
func NewRegistry(jobs ...Definition) (*Registry, error) {
	r := &Registry{jobs: make(map[string]*definition, len(jobs))}
	for _, job := range jobs {
		if job == nil {
			return nil, &Error{Op: "register", Err: fmt.Errorf("%w: a job is nil", ErrConfig)}
		}
		d, err := job.define()
		if err != nil {
			return nil, err
		}
		if r.jobs[d.name] != nil {
			return nil, &Error{Op: "register", Job: d.name, Err: fmt.Errorf("%w: two jobs have this name", ErrConfig)}
		}
		r.jobs[d.name] = d
	}
	return r, nil
}

// Names returns the names of the jobs, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.jobs)) }

// find returns a job.
func (r *Registry) find(name string) (*definition, error) {
	if d := r.jobs[name]; d != nil {
		return d, nil
	}
	known := "none"
	if names := r.Names(); len(names) > 0 {
		known = strings.Join(names, ", ")
	}
	return nil, fmt.Errorf("%w: %q; this process knows %s", ErrUnknownJob, name, known)
}

// maxJobs bounds the jobs of a registry that a peer may announce.
const maxJobs = 1 << 12

// fingerprint is what two processes compare before they work together.
type fingerprint struct {
	build string   // identifies the binary
	jobs  []string // the fingerprints of the jobs, sorted
}

func (r *Registry) fingerprint(build string) fingerprint {
	f := fingerprint{build: build}
	for _, name := range r.Names() {
		f.jobs = append(f.jobs, r.jobs[name].fingerprint())
	}
	return f
}

// mismatch says in what two processes differ, or nothing.
func (f fingerprint) mismatch(peer fingerprint) error {
	if f.build != peer.build {
		return fmt.Errorf("%w: the coordinator's binary is %.12s, the peer's %.12s; start both from one binary, or set Build in both configurations",
			ErrFingerprint, f.build, peer.build)
	}
	for _, job := range f.jobs {
		if !slices.Contains(peer.jobs, job) {
			return fmt.Errorf("%w: the peer does not have job %q; register the same jobs in both", ErrFingerprint, job)
		}
	}
	for _, job := range peer.jobs {
		if !slices.Contains(f.jobs, job) {
			return fmt.Errorf("%w: the coordinator does not have the peer's job %q; register the same jobs in both", ErrFingerprint, job)
		}
	}
	return nil
}

// ownBuild returns a hash of the binary that this process runs.
var ownBuild = sync.OnceValues(func() (string, error) {
	// Where there is a /proc this is the binary itself, even if a new one has
	// taken its name since.
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		path, perr := os.Executable()
		if perr != nil {
			return "", perr
		}
		if f, err = os.Open(path); err != nil {
			return "", err
		}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
})

// buildID returns the configured build, or that of this process.
func buildID(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	b, err := ownBuild()
	if err != nil {
		return "", fmt.Errorf("%w: Build is not set, and the binary cannot be read to find it out: %w", ErrConfig, err)
	}
	return b, nil
}

// planSplits lets a job's Input divide its input and checks what it returns.
func planSplits(ctx context.Context, d *definition, fsys FileSystem, spec *Spec) ([]Split, error) {
	var splits []Split
	planned := *spec
	planned.combined = d.fold != nil
	err := guard(func() string { return "Input.Splits" }, func() (err error) {
		splits, err = d.input.Splits(ctx, fsys, &planned)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(splits) > maxSplits {
		return nil, fmt.Errorf("%w: %d splits, the limit is %d; raise Spec.SplitBytes", ErrConfig, len(splits), maxSplits)
	}
	for i := range splits {
		if n := len(splits[i].Data); n > maxSplitData {
			return nil, fmt.Errorf("%w: split %d has %d bytes of Data, the limit is %d", ErrConfig, i, n, maxSplitData)
		}
	}
	return splits, nil
}
