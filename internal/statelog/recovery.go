package statelog

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/trilith-go/trilith/internal/journal"
)

// Open restores a machine from its log and begins a new epoch, which is durable
// when Open returns. Errors are an *[Error] that matches ErrConfig, ErrFingerprint,
// vfs.ErrLocked if another process has the directory, journal.ErrCorrupt if it is
// damaged, or what the machine or the disk said.
func Open(cfg Config) (*Solo, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Solo{
		cfg:    cfg,
		kick:   make(chan struct{}, 1),
		dirty:  make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	l.applier.clock.step = cfg.MaxStep
	if err := l.recover(); err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	l.applier.began = time.Now()
	l.term, l.end = context.WithCancelCause(context.Background())
	l.work.Go(l.apply)
	if l.journal != nil {
		l.work.Go(l.sync)
	}
	return l, nil
}

// recover reads the log and begins the epoch.
func (l *Solo) recover() error {
	a := &l.applier
	fingerprint := l.cfg.Machine.Fingerprint()
	if len(fingerprint) > maxFingerprint {
		return errFingerprint
	}
	if l.cfg.Dir == "" {
		l.epoch = 1
		a.clock.set(time.Now().UnixNano())
		l.gate.synced = ^uint64(0) // an output leaves when it is applied
		l.safe.Store(l.gate.synced)
		return nil
	}
	r := &recovery{log: l, fingerprint: fingerprint}
	j, err := journal.Open(journal.Config{
		Dir: l.cfg.Dir, FS: l.cfg.FS, Logger: l.cfg.Logger, SegmentBytes: l.cfg.SegmentBytes,
	}, r)
	if err != nil {
		return err
	}
	if l.epoch == 0 {
		a.clock.set(time.Now().UnixNano()) // a new log begins now
	}
	l.epoch++
	var header [recordOverhead]byte
	putRecordHeader(&header, kindEpoch, a.clock.last)
	a.index, err = j.Append(header[:], encodeEpoch(l.epoch, fingerprint))
	if err == nil && !l.cfg.planted.epochUnsynced {
		_, err = j.Sync()
	}
	if err != nil {
		_ = j.Close() // the first error is the one that counts
		return err
	}
	l.journal = j
	l.started.Store(a.index)
	l.gate.applied, l.gate.synced = a.index, a.index
	l.safe.Store(a.index)
	if l.cfg.planted.releaseEarly {
		l.gate.synced = ^uint64(0)
	}
	return nil
}

// recovery rebuilds a machine from its journal.
type recovery struct {
	log         *Solo
	fingerprint string
}

var _ journal.Recovery = (*recovery)(nil)

// Restore implements journal.Recovery.
func (r *recovery) Restore(index uint64, image io.Reader) error {
	h, err := readImageHeader(image)
	if err != nil {
		return fmt.Errorf("reading the image at %d: %w", index, err)
	}
	if err := r.check(h.fingerprint, index); err != nil {
		return err
	}
	if err := r.log.cfg.Machine.Restore(image); err != nil {
		return fmt.Errorf("restoring the image at %d: %w", index, err)
	}
	r.log.epoch = h.epoch
	r.log.applier.clock.set(h.at)
	return nil
}

// Replay implements journal.Recovery.
func (r *recovery) Replay(index uint64, b []byte) error {
	rec, err := decodeRecord(b)
	if err != nil {
		return fmt.Errorf("reading record %d: %w", index, err)
	}
	a := &r.log.applier
	a.clock.set(rec.at)
	a.logged += int64(len(b))
	if rec.kind == kindEpoch {
		r.log.epoch = rec.epoch
		return r.check(rec.fingerprint, index)
	}
	if r.log.cfg.planted.freshTime {
		rec.at = time.Now().UnixNano()
	}
	a.scratch = r.log.cfg.Machine.Apply(index, machineTime(rec.at), rec.command, a.scratch[:0])
	return nil
}

// check compares the fingerprint of what was logged with that of the machine.
func (r *recovery) check(logged string, index uint64) error {
	if logged != r.fingerprint {
		return fmt.Errorf("%w: the log at %d has fingerprint %q, the machine has %q; open the directory with the version that wrote it",
			ErrFingerprint, index, logged, r.fingerprint)
	}
	return nil
}
