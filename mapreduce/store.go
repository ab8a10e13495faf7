package mapreduce

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/trilith-go/trilith/rpc"
)

// store holds the output of a worker's maps until their job has ended.
type store struct {
	memory *budget

	mu      sync.Mutex // guards what follows
	outputs map[Attempt]*storedOutput
	closed  bool
}

// storedOutput is a map's output, and who uses it. It is freed when it has been
// dropped and nobody reads it any more.
type storedOutput struct {
	*mapOutput
	job     JobID
	readers int
	dropped bool
}

func newStore(memory *budget) *store {
	return &store{memory: memory, outputs: make(map[Attempt]*storedOutput)}
}

// add stores an output, whose memory has been reserved.
func (s *store) add(job JobID, a Attempt, out *mapOutput) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.free(out)
		return
	}
	s.outputs[a] = &storedOutput{mapOutput: out, job: job}
}

// open returns the output of an attempt for reading, until done is called, or nil.
func (s *store) open(a Attempt) (out *mapOutput, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outputs[a]
	if o == nil {
		return nil, nil
	}
	o.readers++
	return o.mapOutput, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.readers--
		s.freeIfUnused(o)
	}
}

// free gives back what an output takes.
func (s *store) free(out *mapOutput) {
	s.memory.reserve(-out.reserved)
	out.close()
}

func (s *store) freeIfUnused(o *storedOutput) {
	if o.dropped && o.readers == 0 {
		s.free(o.mapOutput)
	}
}

// drop forgets the output of an attempt.
func (s *store) drop(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(a)
}

func (s *store) dropLocked(a Attempt) {
	if o := s.outputs[a]; o != nil {
		delete(s.outputs, a)
		o.dropped = true
		s.freeIfUnused(o)
	}
}

// dropJob forgets all outputs of a job.
func (s *store) dropJob(id JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, o := range s.outputs {
		if o.job == id {
			s.dropLocked(a)
		}
	}
}

// attempts returns what is held.
func (s *store) attempts() []Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.outputs), func(a, b Attempt) int { return cmp.Compare(a.N, b.N) })
}

// jobs returns for which jobs something is held.
func (s *store) jobs() []JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[JobID]bool)
	for _, o := range s.outputs {
		ids[o.job] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// close forgets everything.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for a := range s.outputs {
		s.dropLocked(a)
	}
}

// serveFetch answers a fetchReq.
func (w *Worker) serveFetch(ctx context.Context, req *fetchReq, st *rpc.Stream) error {
	// A fetcher that has gone must not hold the handler in a Write.
	defer context.AfterFunc(ctx, func() { _ = st.Close() })()
	for _, a := range req.attempts {
		out, done := w.store.open(a)
		if out == nil || req.partition >= len(out.ends) {
			if out != nil {
				done()
			}
			if _, err := st.Write([]byte{fetchMissing}); err != nil {
				return err
			}
			continue
		}
		err := sendRegion(st, out, req.partition)
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

// sendBuffer is the memory that sending a region from disk takes.
const sendBuffer = 128 << 10

func sendRegion(st io.Writer, out *mapOutput, partition int) error {
	r := out.at(partition)
	header := binary.LittleEndian.AppendUint64([]byte{fetchFound}, uint64(r.size()))
	if _, err := st.Write(header); err != nil {
		return err
	}
	if r.file != nil {
		_, err := io.CopyBuffer(struct{ io.Writer }{st}, &wholeReader{r.file, r.off, r.n}, make([]byte, min(r.n, sendBuffer)))
		return err
	}
	for _, piece := range r.data {
		if _, err := st.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// wholeReader reads a range of a file, and says that it is corrupt if that cannot be
// read to its end: then it is not the network that has failed.
type wholeReader struct {
	file   io.ReaderAt
	off, n int64 // what is left
}

// Read implements io.Reader.
func (r *wholeReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), r.n)], r.off)
	r.off, r.n = r.off+int64(n), r.n-int64(n)
	if err != nil && r.n > 0 {
		return n, corrupt("%d bytes of map output cannot be read: %v", r.n, err)
	}
	return n, nil
}
