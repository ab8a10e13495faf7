package shareddisk

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"sync"

	"github.com/trilith-go/trilith/internal/vfs"
)

// chunkSize is how much of an object is in one file.
const chunkSize = 256 << 10

// A store is the files of a shared disk as one term of a machine, or a reader, sees them.
//
// A term writes only to files of its own version: a chunk of before is copied when it is
// first written to. So whoever goes on writing although his term is over, because he was
// stopped and did not notice, writes to files that nobody looks at any more. (What he can
// still write was released to him and is not completed: it is done again by the one who
// has taken over, before anything else is read.)
type store struct {
	files Files
	own   version // zero: it only reads
	bugs  storeBugs

	mu       sync.Mutex // guards what follows
	objects  map[uint64]*object
	open     map[chunkID]*chunk
	clock    uint64
	dirs     map[string]bool // whose entries are not durable
	obsolete []string        // files that are not needed once all is durable
	roots    uint64          // that this term has written
	spent    bool            // there is no reserve
}

// storeBugs can be planted, so that tests prove that they would be found.
type storeBugs struct {
	inPlace bool // writes go to the newest version, whosever it is
}

// An object is one that something was asked of.
type object struct {
	mu     sync.Mutex // guards what follows; taken before store.mu
	known  bool
	made   bool // it has a directory
	chunks map[int64]version
}

type chunkID struct {
	object uint64
	index  int64
}

// A chunk is a file that is open.
type chunk struct {
	mu      sync.RWMutex // held for reading while it is used; taken before object.mu
	file    File
	version version
	dirty   bool // guarded by store.mu, as is what follows
	users   int
	used    uint64
}

func newStore(files Files, own version) *store {
	return &store{files: files, own: own, objects: make(map[uint64]*object), open: make(map[chunkID]*chunk), dirs: make(map[string]bool)}
}

func objectPath(id uint64) string { return path.Join(objectDir, strconv.FormatUint(id, 16)) }

// object returns one with the versions of its chunks.
func (s *store) object(id uint64) (*object, error) {
	s.mu.Lock()
	o := s.objects[id]
	if o == nil {
		o = new(object)
		s.objects[id] = o
	}
	s.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known {
		return o, nil
	}
	names, err := s.files.List(objectPath(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	o.chunks, _ = newest(names, s.own)
	o.known, o.made = true, err == nil
	return o, nil
}

// forget lets what is known of an object be found out again.
func (s *store) forget(id uint64) {
	s.mu.Lock()
	o := s.objects[id]
	var closing []*chunk
	for at, c := range s.open {
		if at.object == id && !c.dirty && c.users == 0 {
			closing = append(closing, c)
			delete(s.open, at)
		}
	}
	s.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
	if o != nil {
		o.mu.Lock()
		o.known = false
		o.mu.Unlock()
	}
}

func (o *object) version(index int64) version {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.chunks[index]
}

// pieces calls f for each part of a range that is in one chunk.
func pieces(off int64, n int, f func(index, at int64, from, to int) error) error {
	for done := 0; done < n; {
		index, at := (off+int64(done))/chunkSize, (off+int64(done))%chunkSize
		part := min(n-done, int(chunkSize-at))
		if err := f(index, at, done, done+part); err != nil {
			return err
		}
		done += part
	}
	return nil
}

// readAt reads from an object. What was never written is zero.
func (s *store) readAt(id uint64, b []byte, off int64) error {
	return pieces(off, len(b), func(index, at int64, from, to int) error {
		for tries := 0; ; tries++ {
			err := s.readChunk(id, index, b[from:to], at)
			if !errors.Is(err, fs.ErrNotExist) || tries == 3 {
				return err
			}
			s.forget(id) // a newer version has taken its place meanwhile
		}
	})
}

func (s *store) readChunk(id uint64, index int64, b []byte, at int64) error {
	o, err := s.object(id)
	if err != nil {
		return err
	}
	v := o.version(index)
	if v.isZero() {
		clear(b)
		return nil
	}
	read := func(f File) error {
		n, err := f.ReadAt(b, at)
		if err == io.EOF {
			err = nil
		}
		clear(b[n:])
		return err
	}
	if !s.own.isZero() && v.generation < s.own.generation {
		// Another machine's: its last write may still be under way. What is read here, it
		// must not change later.
		if err := s.with(id, index, o, true, read); !errors.Is(err, vfs.ErrNoSpace) {
			return err
		}
	}
	return s.with(id, index, o, false, read)
}

// with calls f with the file of a chunk: a version of the term's own, or the newest.
func (s *store) with(id uint64, index int64, o *object, own bool, f func(File) error) error {
	c := s.take(chunkID{id, index})
	defer s.give(c)
	for {
		c.mu.RLock()
		v := o.version(index)
		if c.file != nil && c.version == v && (!own || v == s.own || s.bugs.inPlace) {
			err := f(c.file)
			if own && err == nil {
				s.taint(c, "") // only now: a sync of before does not have it
			}
			c.mu.RUnlock()
			return err
		}
		c.mu.RUnlock()
		c.mu.Lock()
		var err error
		if own {
			err = s.ownChunk(id, index, o, c)
		} else {
			err = s.openChunk(id, index, o.version(index), c)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// openChunk has c open at a version. c.mu is held.
func (s *store) openChunk(id uint64, index int64, v version, c *chunk) error {
	if c.file != nil && c.version == v {
		return nil
	}
	f, err := s.files.Open(path.Join(objectPath(id), chunkName(index, v)))
	if err != nil {
		return err
	}
	c.close()
	c.file, c.version = f, v
	return nil
}

// ownChunk has c open at a version of the term's own, which it makes if it must. c.mu is held.
func (s *store) ownChunk(id uint64, index int64, o *object, c *chunk) error {
	dir := objectPath(id)
	v := o.version(index)
	if v == s.own || s.bugs.inPlace && !v.isZero() {
		return s.openChunk(id, index, v, c)
	}
	name := path.Join(dir, chunkName(index, s.own))
	if v.isZero() {
		if err := s.mkdir(id, o); err != nil {
			return err
		}
		f, err := s.files.Create(name)
		if err != nil {
			return err
		}
		c.close()
		c.file, c.version = f, s.own
	} else {
		old, err := readWhole(s.files, path.Join(dir, chunkName(index, v)))
		if err != nil {
			return err
		}
		if err := writeWhole(s.files, name, old); err != nil {
			return err
		}
		if err := s.openChunk(id, index, s.own, c); err != nil {
			return err
		}
	}
	s.taint(c, dir)
	o.mu.Lock()
	o.chunks[index] = s.own
	o.mu.Unlock()
	if !v.isZero() {
		s.mu.Lock()
		s.obsolete = append(s.obsolete, path.Join(dir, chunkName(index, v)))
		s.mu.Unlock()
	}
	return nil
}

// mkdir makes the directory of an object, if it has none.
func (s *store) mkdir(id uint64, o *object) error {
	o.mu.Lock()
	made := o.made
	o.mu.Unlock()
	if made {
		return nil
	}
	if err := s.files.Mkdir(objectPath(id)); err != nil {
		return err
	}
	o.mu.Lock()
	o.made = true
	o.mu.Unlock()
	return nil
}

// writeAt writes to an object. It is durable after sync.
func (s *store) writeAt(id uint64, b []byte, off int64) error {
	o, err := s.object(id)
	if err != nil {
		return err
	}
	return pieces(off, len(b), func(index, at int64, from, to int) error {
		var err error
		for range 4 {
			err = s.with(id, index, o, true, func(f File) error {
				_, err := f.WriteAt(b[from:to], at)
				return err
			})
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			// A version has gone before it was copied: one who has lost his term has tidied up.
			s.forget(id)
			if o, err = s.object(id); err != nil {
				return err
			}
		}
		return err
	})
}

// truncate makes what is beyond an offset zero.
func (s *store) truncate(id uint64, off int64) error {
	o, err := s.object(id)
	if err != nil {
		return err
	}
	o.mu.Lock()
	var beyond []int64
	for index := range o.chunks {
		if (index+1)*chunkSize > off {
			beyond = append(beyond, index)
		}
	}
	o.mu.Unlock()
	slices.Sort(beyond)
	for _, index := range beyond {
		if err := s.cut(id, index, o, max(off-index*chunkSize, 0)); err != nil {
			return err
		}
	}
	return nil
}

// cut makes the rest of a chunk zero. It does not remove any: one of an older version, by
// one whose term is over, could come to be seen in its place.
func (s *store) cut(id uint64, index int64, o *object, at int64) error {
	return s.with(id, index, o, true, func(file File) error {
		size, err := file.Size()
		if err != nil || size <= at {
			return err
		}
		if f, ok := file.(interface{ Truncate(int64) error }); ok {
			return f.Truncate(at)
		}
		_, err = file.WriteAt(make([]byte, size-at), at)
		return err
	})
}

// remove removes an object. What is missing already is no error.
func (s *store) remove(id uint64) error {
	s.mu.Lock()
	var closing []*chunk
	for at, c := range s.open {
		if at.object == id {
			closing = append(closing, c)
			delete(s.open, at)
		}
	}
	delete(s.objects, id)
	delete(s.dirs, objectPath(id))
	s.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
	dir := objectPath(id)
	names, err := s.files.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if e := s.files.Remove(path.Join(dir, name)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	if err := s.files.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// size returns where the last byte of an object is that was ever written.
func (s *store) size(id uint64) (int64, error) {
	o, err := s.object(id)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	last := int64(-1)
	for index := range o.chunks {
		last = max(last, index)
	}
	v := o.chunks[last]
	o.mu.Unlock()
	if last < 0 {
		return 0, nil
	}
	f, err := s.files.Open(path.Join(objectPath(id), chunkName(last, v)))
	if err != nil {
		return 0, err
	}
	n, err := f.Size()
	return last*chunkSize + n, errors.Join(err, f.Close())
}

// sync makes durable what was written before, and fails with errFenced if another term has
// begun.
func (s *store) sync() error {
	s.mu.Lock()
	var dirty []*chunk
	for _, c := range s.open {
		if c.dirty {
			c.dirty = false // what is written from here on is the next sync's
			c.users++
			dirty = append(dirty, c)
		}
	}
	dirs, obsolete := s.dirs, s.obsolete
	s.dirs, s.obsolete = make(map[string]bool), nil
	s.mu.Unlock()
	var errs []error
	var failed []*chunk
	for _, c := range dirty {
		c.mu.Lock()
		f := c.file
		c.mu.Unlock()
		if err := f.Sync(); err != nil {
			errs, failed = append(errs, err), append(failed, c)
		}
	}
	for dir := range dirs {
		if err := s.files.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		err = s.fenced()
	}
	s.mu.Lock()
	for _, c := range dirty {
		c.users--
	}
	for _, c := range failed {
		c.dirty = true
	}
	if err != nil {
		for dir := range dirs {
			s.dirs[dir] = true
		}
		s.obsolete = append(obsolete, s.obsolete...)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for _, name := range obsolete {
		_ = s.files.Remove(name) // it is not seen any more, and in nobody's way
	}
	s.saveReserve()
	return nil
}

// close closes what is open.
func (s *store) close() {
	s.mu.Lock()
	open := s.open
	s.open = make(map[chunkID]*chunk)
	s.mu.Unlock()
	for _, c := range open {
		c.mu.Lock()
		c.close()
		c.file = nil
		c.mu.Unlock()
	}
}
