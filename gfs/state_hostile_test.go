package gfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/wire"
)

// richState has something of everything.
func richState(t testing.TB) *stateRig {
	r := newStateRig(t)
	r.want(r.mkdir("ann", "home"), nil)
	r.want(r.mkdir("ann", "home/sub"), nil)
	for i := range 30 {
		path := fmt.Sprintf("home/sub/file-%02d", i)
		r.want(r.create("ann", path), nil)
		for k := range uint64(i) {
			_, err := r.addChunk("ann", path, k*uint64(1+i%3))
			r.want(err, nil)
		}
	}
	r.want(r.snapshot("bob", "home/sub", "copy"), nil)
	_, err := r.remove("ann", "home/sub/file-20", false)
	r.want(err, nil)
	_, err = r.remove("ann", "home/sub", true)
	r.want(err, nil)
	p := cmdSetPolicy{r.head("super"), policyReq{"home", policy{2, time.Hour, 1000, 2000}}}
	r.want(p.result(r.do(p.append(nil))), nil)
	s := cmdServer{1, [16]byte{1}, "a:1", "rack", "zone"}
	_, err = s.result(r.do(s.append(nil)))
	r.want(err, nil)
	return r
}

// imageFrames takes an image apart.
func imageFrames(image []byte) (bodies [][]byte) {
	for len(image) >= 8 {
		n := int(binary.LittleEndian.Uint32(image))
		if len(image) < 8+n {
			break
		}
		bodies = append(bodies, image[8:8+n])
		image = image[8+n:]
	}
	return bodies
}

// imageOf puts an image together, with checksums that match.
func imageOf(bodies [][]byte) (image []byte) {
	for _, b := range bodies {
		image = binary.LittleEndian.AppendUint32(image, uint32(len(b)))
		image = binary.LittleEndian.AppendUint32(image, crc32.Checksum(b, imageTable))
		image = append(image, b...)
	}
	return image
}

// tryImage restores an image that may be damaged: either it is refused, and changes
// nothing, or it is one that a state could have written.
func tryImage(t testing.TB, image []byte) error {
	t.Helper()
	s := newState()
	before := stateImage(t, s)
	if err := s.Restore(bytes.NewReader(image)); err != nil {
		if after := stateImage(t, s); !bytes.Equal(after, before) {
			t.Fatal("a refused image changed the state")
		}
		return err
	}
	if err := s.data.check(); err != nil {
		t.Fatalf("accepted, but: %v", err)
	}
	again := newState()
	if err := again.Restore(bytes.NewReader(stateImage(t, s))); err != nil {
		t.Fatalf("accepted, written again and refused: %v", err)
	}
	return nil
}

// TestStateImageDamaged: an image that is cut off anywhere, in which a bit is wrong, or
// in whose frames something is wrong beneath a checksum that matches.
func TestStateImageDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats much on one goroutine")
	}
	t.Parallel()
	image := richState(t).image()
	for n := range image {
		if err := tryImage(t, image[:n]); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if err := tryImage(t, append(bytes.Clone(image), 0)); !errors.Is(err, wire.ErrCorrupt) {
		t.Fatalf("a byte more: %v", err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range image {
		damaged := bytes.Clone(image)
		damaged[i] ^= 1 << rng.IntN(8)
		if err := tryImage(t, damaged); err == nil {
			t.Fatalf("byte %d: accepted", i)
		}
	}
	bodies := imageFrames(image)
	accepted := 0
	for range 6000 {
		damaged := make([][]byte, len(bodies))
		for i := range bodies {
			damaged[i] = bytes.Clone(bodies[i])
		}
		for range 1 + rng.IntN(3) {
			b := damaged[rng.IntN(len(damaged))]
			b[rng.IntN(len(b))] = byte(rng.Uint32() >> rng.IntN(8))
		}
		if tryImage(t, imageOf(damaged)) == nil {
			accepted++
		}
	}
	t.Logf("%d of 6000 are images of something else", accepted)
	for i := range bodies { // a frame is missing, or comes twice
		if tryImage(t, imageOf(append(append([][]byte{}, bodies[:i]...), bodies[i+1:]...))) == nil {
			t.Fatalf("accepted without frame %d", i)
		}
		if tryImage(t, imageOf(append(append([][]byte{}, bodies[:i+1]...), bodies[i:]...))) == nil {
			t.Fatalf("accepted with frame %d twice", i)
		}
	}
}

// TestStateImageWriter: what a writer refuses is said.
func TestStateImageWriter(t *testing.T) {
	f, _ := richState(t).s.Freeze()
	if _, err := f.WriteTo(stateFullDisk{}); !errors.Is(err, io.ErrShortWrite) {
		t.Fatal(err)
	}
}

type stateFullDisk struct{}

func (stateFullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzStateImage(f *testing.F) {
	image := richState(f).image()
	f.Add(image)
	f.Add(stateImage(f, newState()))
	for _, b := range testutil.Strangers() {
		f.Add(b)
		f.Add(imageOf([][]byte{b}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = tryImage(t, data)
		// Past the checksums.
		_ = tryImage(t, imageOf(imageFrames(data)))
	})
}

func FuzzStateCommand(f *testing.F) {
	head := cmdHeader{1, identity{"ann", []string{"staff"}, true}, 5}
	for _, cmd := range [][]byte{
		(&cmdLead{2, DefaultChunkSize}).append(nil),
		(&cmdCreate{head, createReq{"a/b", 0o644, 2, true, true}}).append(nil),
		(&cmdMkdir{head, mkdirReq{"a/b", 0o755, true}}).append(nil),
		(&cmdRemove{head, removeReq{"home", true}}).append(nil),
		(&cmdUndelete{head, undeleteReq{"home/sub", "x"}}).append(nil),
		(&cmdRename{head, pairReq{"home", "x"}}).append(nil),
		(&cmdSnapshot{head, pairReq{"copy", "home/x"}}).append(nil),
		(&cmdSetAttr{head, setAttrReq{"copy", true, 0o700, "bob", "staff", 2, 7}}).append(nil),
		(&cmdSetPolicy{head, policyReq{"copy", policy{1, -1, 5, 6}}}).append(nil),
		(&cmdAddChunk{cmdHeader: head, path: "copy/file-03", index: 9, version: 1}).append(nil),
		(&cmdFork{cmdHeader: head, path: "copy/file-03", index: 0, from: 4, to: 5, version: 1}).append(nil),
		(&cmdGrant{1, 4, 1, 2}).append(nil),
		(&cmdReserve{1, 7}).append(nil),
		(&cmdAdopt{1, 4, 9}).append(nil),
		(&cmdCollect{1, 10}).append(nil),
		(&cmdServer{1, [16]byte{1}, "b:1", "r", "z"}).append(nil),
		(&cmdDrain{1, 1, true}).append(nil),
		(&cmdForget{1, 1}).append(nil),
	} {
		f.Add(cmd, cmd)
	}
	for _, b := range testutil.Strangers() {
		f.Add(b, b)
	}
	for kind := range commandForget + 1 { // a kind, an epoch, a length
		for _, b := range testutil.Lengths(byte(kind), 1) {
			f.Add(b, b)
		}
	}
	image := richState(f).image()
	f.Fuzz(func(t *testing.T, one, two []byte) {
		s := newState()
		if err := s.Restore(bytes.NewReader(image)); err != nil {
			t.Fatal(err)
		}
		for i, cmd := range [][]byte{one, two} {
			out := s.Apply(uint64(i), stateStart.Add(90*time.Minute), cmd, []byte("before"))
			if !bytes.HasPrefix(out, []byte("before")) {
				t.Fatal("the output is not appended")
			}
			if _, err := decodeOutcome(out[len("before"):]); errors.Is(err, wire.ErrCorrupt) && strings.HasPrefix(err.Error(), "output") {
				t.Fatalf("output %x: %v", out, err)
			}
			if err := s.data.check(); err != nil {
				t.Fatal(err)
			}
		}
		if err := newState().Restore(bytes.NewReader(stateImage(t, s))); err != nil {
			t.Fatalf("an image of it is refused: %v", err)
		}
	})
}

func FuzzStateOutcome(f *testing.F) {
	f.Add([]byte{0, 1, 2})
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Add(appendOutcome(nil, 0, refuse(outcomeQuota, "a", "why")))
	f.Fuzz(func(t *testing.T, out []byte) {
		if _, err := decodeOutcome(out); err != nil {
			_ = err.Error()
		}
		_, _ = (&cmdCreate{}).result(out)
		_, _ = (&cmdFork{}).result(out)
		_, _ = (&cmdRemove{}).result(out)
	})
}
