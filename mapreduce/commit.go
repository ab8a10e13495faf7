package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// commitsAtOnce bounds the files of a job that are committed at a time.
	commitsAtOnce = 8
	// commitTries is how often a file is tried to be committed before the job is
	// given up, with a pause that doubles from commitPause on.
	commitTries = 8
	commitPause = 50 * time.Millisecond
)

// commit gives the files of a job that was won their final names, and ends the
// job. The winners are logged, so that it can be done again after a crash, and
// does the same: it repeats what an earlier coordinator may have done in part.
func (c *Coordinator) commit(term context.Context, epoch uint64, id JobID) {
	c.ledger.mu.Lock()
	j := c.ledger.tasks.jobs[id]
	if j == nil || j.state != JobCommitting { // it has failed meanwhile
		c.ledger.mu.Unlock()
		return
	}
	spec := j.spec
	side, parts := j.sideFiles(), j.parts()
	c.ledger.mu.Unlock()

	// The winners that were just read are safe only now.
	_, err := c.log.Confirm(term)
	if err == nil {
		err = c.commitFiles(term, side)
	}
	if err == nil { // where there are parts, all else is there
		err = c.commitFiles(term, parts)
	}
	if term.Err() != nil {
		return
	}
	end := commandEnd(epoch, id, JobSucceeded, "")
	if err == nil {
		c.sweepFiles(term, attemptPattern(&spec, "")) // the directory is this job's alone
	} else {
		end = commandEnd(epoch, id, JobFailed, fmt.Sprintf("commit the output: %v", err))
	}
	// If that fails the term is over, and the next one does all this again.
	_, _, _ = c.log.Propose(term, end)
}

// rename is a file that an attempt has written and its final name.
type rename struct{ temporary, final string }

// sideFiles returns the files that tasks have won with besides the output.
func (j *job) sideFiles() []rename {
	var found []rename
	for kind := range j.tasks {
		for i := range j.tasks[kind] {
			files := j.tasks[kind][i].files
			if files == nil {
				continue
			}
			for n, name := range files.names {
				ref := taskRef{j.id, TaskKind(kind), i}
				found = append(found, rename{sideName(&j.spec, j.token, ref, files.attempt, n), path.Join(j.spec.Output, name)})
			}
		}
	}
	return found
}

// parts returns the files of the output.
func (j *job) parts() []rename {
	last := j.tasks[j.last()]
	found := make([]rename, len(last))
	for i, final := range partNames(j.spec.Output, len(last)) {
		found[i] = rename{attemptName(&j.spec, j.token, i, last[i].attempt), final}
	}
	return found
}

func (c *Coordinator) commitFiles(ctx context.Context, files []rename) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(commitsAtOnce)
	for _, f := range files {
		group.Go(func() error { return commitFile(ctx, c.cfg.FileSystem, f.temporary, f.final) })
	}
	return group.Wait()
}

// commitFile commits one file. That its attempt's name is gone and the final one is
// there means that it was done before.
func commitFile(ctx context.Context, fsys FileSystem, temporary, final string) error {
	pause := commitPause
	for try := 1; ; try++ {
		err := fsys.Commit(ctx, temporary, final)
		if errors.Is(err, fs.ErrNotExist) {
			f, _, oerr := fsys.Open(ctx, final)
			if oerr == nil {
				_ = f.Close() // it is there
				return nil
			}
			if !errors.Is(oerr, fs.ErrNotExist) {
				err = oerr // it may be there
			}
		}
		// What exists or does not will not change by waiting.
		if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || try == commitTries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause *= 2
	}
}

// sweep removes what attempts of a job that has ended have left behind.
func (c *Coordinator) sweep(term context.Context, id JobID) {
	c.ledger.mu.Lock()
	j := c.ledger.tasks.jobs[id]
	c.ledger.mu.Unlock()
	if j == nil {
		return
	}
	// That it has ended is safe only now: before, another coordinator could go on
	// with the job, and need its files.
	if _, err := c.log.Confirm(term); err == nil {
		c.sweepFiles(term, attemptPattern(&j.spec, j.token)) // neither ever changes
	}
}

// sweepAll removes what attempts of any job have left behind, when this coordinator
// and its workers are gone, and nobody will go on where they were.
func (c *Coordinator) sweepAll(ctx context.Context) {
	for _, id := range c.ledger.tasks.order {
		j := c.ledger.tasks.jobs[id]
		c.sweepFiles(ctx, attemptPattern(&j.spec, j.token))
	}
}

func (c *Coordinator) sweepFiles(ctx context.Context, pattern string) {
	names, err := c.cfg.FileSystem.Glob(ctx, pattern)
	if err != nil {
		c.cfg.Logger.Warn("cannot look for what attempts left behind", "pattern", pattern, "error", err)
		return
	}
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if err := c.cfg.FileSystem.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.cfg.Logger.Warn("cannot remove what an attempt left behind", "file", name, "error", err)
			}
		})
	}
	wg.Wait()
}
