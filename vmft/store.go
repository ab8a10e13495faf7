package vmft

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trilith-go/trilith/internal/journal"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/internal/wire"
)

// A store is a node's directory:
//
//	LOCK          locked while a node has it
//	CURRENT       the ID of the journal that counts
//	log-<ID>/     a journal; others than the current one are what clones have left
//
// A clone's journal is made beside the current one, and CURRENT is replaced when it is
// whole: whatever crashes, the node has the one or the other, never a mixture.
type store struct {
	cfg     Config
	lock    io.Closer
	id      ID // of the current journal
	journal *journal.Journal

	busy   atomic.Int64 // since when a sync is in progress, UnixNano; 0: none is
	logged atomic.Int64 // bytes since the last image

	mu    sync.Mutex // guards spots
	spots gate[uint64]
	freed []uint64 // by the last sync; guarded by mu
	safe  uint64   // position; guarded by mu
}

func newID() ID {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if id := ID(le.Uint64(b[:])); id != 0 {
			return id
		}
	}
}

const currentName = "CURRENT"

func (s *store) dirOf(id ID) string { return filepath.Join(s.cfg.Dir, "log-"+id.String()) }

// openStore opens a node's directory and brings the machine to what its journal has. fresh
// says that there is nothing in it, and never was.
func openStore(cfg Config, h *host) (_ *store, fresh bool, err error) {
	s := &store{cfg: cfg}
	if err := vfs.MkdirAllSync(cfg.FS, cfg.Dir); err != nil {
		return nil, false, err
	}
	if s.lock, err = cfg.FS.Lock(filepath.Join(cfg.Dir, "LOCK")); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			_ = s.close() // the first error is the one that counts
		}
	}()
	text, err := vfs.ReadFile(cfg.FS, filepath.Join(cfg.Dir, currentName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fresh = true
		s.id = newID()
	case err != nil:
		return nil, false, err
	default:
		if _, err := fmt.Sscanf(string(text), "%x\n", (*uint64)(&s.id)); err != nil {
			return nil, false, fmt.Errorf("%w: %s holds %q", errFormat, currentName, text)
		}
	}
	if err := s.open(h); err != nil {
		return nil, false, err
	}
	if fresh {
		err = s.setCurrent()
	} else {
		fresh = h.position == 0
	}
	if err == nil {
		err = s.tidy()
	}
	return s, fresh, err
}

func (s *store) setCurrent() error {
	return vfs.WriteFile(s.cfg.FS, filepath.Join(s.cfg.Dir, currentName), []byte(s.id.String()+"\n"))
}

// tidy removes journals that do not count.
func (s *store) tidy() error {
	entries, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(s.cfg.Dir, e.Name())
		if !strings.HasPrefix(e.Name(), "log-") || name == s.dirOf(s.id) {
			continue
		}
		files, err := s.cfg.FS.ReadDir(name)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := s.cfg.FS.Remove(filepath.Join(name, f.Name())); err != nil {
				return err
			}
		}
		if err := s.cfg.FS.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// open opens the journal with the store's ID.
func (s *store) open(h *host) error {
	r := &recovery{host: h}
	j, err := journal.Open(journal.Config{Dir: s.dirOf(s.id), FS: s.cfg.FS, Logger: s.cfg.Logger}, r)
	if err != nil {
		return err
	}
	s.journal = j
	s.mu.Lock()
	s.spots, s.safe = gate[uint64]{released: j.Safe()}, h.position
	s.mu.Unlock()
	return nil
}

// clone makes a journal that begins with an image, which fill restores, and makes it the
// current one when the machine has it.
func (s *store) clone(h *host, head imageHead, image io.Reader) error {
	old := s.journal
	id := newID()
	if err := journal.Create(journal.Config{Dir: s.dirOf(id), FS: s.cfg.FS}, 1, &copied{head, image}); err != nil {
		return err
	}
	if old != nil {
		_ = old.Close() // it does not count any more
	}
	before := s.id
	s.id, s.journal = id, nil
	if err := s.open(h); err != nil {
		s.id = before
		return err
	}
	if err := s.setCurrent(); err != nil {
		return err
	}
	return s.tidy()
}

// copied writes an image that is being received.
type copied struct {
	head  imageHead
	image io.Reader
}

// WriteTo implements io.WriterTo.
func (c *copied) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.head.append(nil))
	if err != nil {
		return int64(n), err
	}
	m, err := io.Copy(w, c.image)
	return int64(n) + m, err
}

// append adds a batch.
func (s *store) append(b *batch) error {
	sequence, err := s.journal.Append(b.data)
	if err != nil {
		return err
	}
	b.sequence = sequence
	s.logged.Add(int64(len(b.data)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spots.push(sequence, b.last)
	return nil
}

// sync makes safe what was appended, and returns the last position that is.
func (s *store) sync() (position uint64, err error) {
	s.busy.Store(time.Now().UnixNano())
	defer s.busy.Store(0)
	sequence, err := s.journal.Sync()
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed = s.spots.release(sequence, s.freed[:0])
	for _, p := range s.freed {
		s.safe = max(s.safe, p)
	}
	return s.safe, nil
}

// close gives the directory up.
func (s *store) close() error {
	var err error
	if s.journal != nil {
		err = s.journal.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// imageHead is what an image of the machine says about the log.
type imageHead struct {
	position    uint64
	at          int64
	fingerprint string
}

func (h *imageHead) append(dst []byte) []byte {
	b := wire.AppendString(le.AppendUint64(le.AppendUint64(nil, h.position), uint64(h.at)), h.fingerprint)
	return append(le.AppendUint32(dst, uint32(len(b))), b...)
}

func readImageHead(r io.Reader) (h imageHead, err error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return h, err
	}
	if le.Uint32(n[:]) > maxText+32 {
		return h, errFormat
	}
	b := make([]byte, le.Uint32(n[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return h, err
	}
	d := wire.NewDecoder(b)
	h = imageHead{position: d.Uint64(), at: int64(d.Uint64()), fingerprint: d.String()}
	return h, d.Finish()
}

// recovery rebuilds a host from its journal.
type recovery struct {
	host    *host
	scratch []byte
}

var _ journal.Recovery = (*recovery)(nil)

// Restore implements journal.Recovery.
func (r *recovery) Restore(_ uint64, image io.Reader) error {
	head, err := readImageHead(image)
	if err != nil {
		return err
	}
	return r.host.restore(head, image)
}

// Replay implements journal.Recovery.
func (r *recovery) Replay(_ uint64, data []byte) error {
	b, err := parseBatch(data)
	switch {
	case err != nil:
		return err
	case b.first != r.host.position+1:
		return fmt.Errorf("%w: entry %d follows %d", errFormat, b.first, r.host.position)
	}
	b.each(func(e entry) {
		if e.kind == kindEpoch && err == nil && !bytes.Equal(e.data, []byte(r.host.fingerprint())) {
			err = fmt.Errorf("%w: the journal is of %q, the machine is %q", ErrFingerprint, e.data, r.host.fingerprint())
		}
		if err == nil {
			r.scratch = r.host.apply(e, r.scratch[:0])
			err = r.host.fault()
		}
	})
	return err
}

// restore makes the host that of an image.
func (h *host) restore(head imageHead, image io.Reader) error {
	if !h.accepts(head.fingerprint) {
		return fmt.Errorf("%w: the image is of %q, the machine is %q", ErrFingerprint, head.fingerprint, h.fingerprint())
	}
	if err := h.sessions.Restore(image); err != nil {
		return fmt.Errorf("restoring the image at %d: %w", head.position, err)
	}
	h.position, h.at = head.position, head.at
	return nil
}
