package vmft

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
	"io"

	"github.com/trilith-go/trilith/rpc"
)

// install makes a clone of the node: it takes in an image, and is a candidate then.
func (f *follower) install(st *rpc.Stream, in *frames, accept acceptance) error {
	f.mu.Lock()
	c := f.core
	if c.claim.Epoch != 0 || c.live || accept.record.Epoch < c.record.Epoch || accept.record.entitles(c.self) || !f.host.accepts(accept.fingerprint) {
		f.mu.Unlock()
		return fmt.Errorf("an image of %v is of no use here", accept.record)
	}
	f.installing, f.lost = true, f.n.store == nil
	f.n.fresh = false
	f.mu.Unlock()
	head := imageHead{position: accept.position, at: accept.at, fingerprint: accept.fingerprint}
	image := &imageReader{in: in}
	self := Member{Addr: f.n.addr, Incarnation: newID()}
	err := func() error {
		if f.n.store != nil {
			err := f.n.store.clone(f.host, head, image)
			if err != nil && f.n.store.journal == nil {
				f.n.failed(fmt.Errorf("%w: %w", ErrFailed, err))
			}
			self.Log = f.n.store.id
			return err
		}
		if err := f.host.restore(head, image); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, image)
		return err
	}()
	if err := f.become(self, st, accept, err); err != nil {
		return err
	}
	who, _ := (&Record{Primary: self}).AppendBinary(nil)  // never fails
	_, err = st.Write(appendFrame(nil, frameAttach, who)) // which can stand still, and holds nobody up
	f.n.changed()
	return err
}

// imageReader reads the image that comes in frames, and checks it.
type imageReader struct {
	in     *frames
	left   []byte
	length uint64
	sum    uint64
	whole  bool
}

// Read implements io.Reader.
func (r *imageReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.whole {
			return 0, io.EOF
		}
		kind, payload, err := r.in.next()
		switch {
		case err != nil:
			return 0, fmt.Errorf("an image is cut off: %w", errors.Join(io.ErrUnexpectedEOF, err))
		case kind == frameImage:
			r.left = payload
			r.sum = crc64.Update(r.sum, crcTable, payload)
			r.length += uint64(len(payload))
		case kind == frameWhole && bytes.Equal(payload, le.AppendUint64(le.AppendUint64(nil, r.length), r.sum)):
			r.whole = true
		case kind == frameBeat || kind == frameRecord:
		default:
			return 0, fmt.Errorf("%w: an image that was damaged", errFormat)
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
