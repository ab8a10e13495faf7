package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// adder is a machine that adds up the numbers it is sent.
type adder struct {
	sum   uint64
	times int
}

func (a *adder) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	a.times++
	for _, b := range cmd {
		a.sum += uint64(b)
	}
	return binary.BigEndian.AppendUint64(dst, a.sum)
}

func (a *adder) Freeze() (io.WriterTo, error) {
	return bytes.NewReader(binary.BigEndian.AppendUint64(nil, a.sum)), nil
}

func (a *adder) Restore(r io.Reader) error {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	a.sum = binary.BigEndian.Uint64(b[:])
	return err
}

func (a *adder) Fingerprint() string { return "adder/1" }

// replica is an adder behind a table, with its log position.
type replica struct {
	*SessionMachine
	adder *adder
	index uint64
}

func newReplica(t testing.TB, cfg SessionsConfig) *replica {
	t.Helper()
	a := new(adder)
	m, err := NewSessionMachine(a, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &replica{SessionMachine: m, adder: a}
}

func (r *replica) apply(at time.Time, cmd []byte) ([]byte, error) {
	r.index++
	out := r.Apply(r.index, at, cmd, []byte("head"))
	return ParseSessionOutput(bytes.TrimPrefix(out, []byte("head")))
}

func (r *replica) image(t testing.TB) []byte {
	t.Helper()
	frozen, err := r.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := frozen.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSessionMachine(t *testing.T) {
	a, b := newReplica(t, SessionsConfig{}), newReplica(t, SessionsConfig{})
	at := sessionEpoch
	// Both replicas are told the same and answer the same.
	apply := func(cmd []byte) ([]byte, error) {
		t.Helper()
		out, err := a.apply(at, cmd)
		out2, err2 := b.apply(at, cmd)
		if !bytes.Equal(out, out2) || !errors.Is(err2, err) {
			t.Fatalf("replicas answer %x, %v and %x, %v", out, err, out2, err2)
		}
		return out, err
	}
	var id SessionID
	out, err := apply(AppendSessionOpen(nil, [16]byte{7}))
	if err != nil || id.UnmarshalBinary(out) != nil || id != (SessionID{[16]byte{7}, 1}) {
		t.Fatalf("opened %x, %v", out, err)
	}
	if out, err = apply(AppendSessionOpen(nil, [16]byte{8})); err != nil || out[0] != 7 {
		t.Errorf("a second session names the table %x, %v", out, err)
	}
	call := func(seq, watermark uint64, n byte) []byte {
		return AppendSessionCall(nil, SessionCall{ID: id, Seq: seq, Watermark: watermark, Hash: uint64(n)}, []byte{n})
	}
	for range 3 {
		if out, err := apply(call(1, 1, 5)); err != nil || binary.BigEndian.Uint64(out) != 5 {
			t.Errorf("5 added: %x, %v", out, err)
		}
	}
	if _, err := apply(call(1, 1, 6)); err != ErrSessionMismatch {
		t.Errorf("another command: %v", err)
	}
	if out, err := apply(AppendSessionPlain(nil, []byte{1, 1})); err != nil || binary.BigEndian.Uint64(out) != 7 {
		t.Errorf("a plain command: %x, %v", out, err)
	}
	if out, err := apply(AppendSessionAcknowledge(nil, id, 2)); err != nil || len(out) != 0 {
		t.Errorf("acknowledged: %x, %v", out, err)
	}
	if _, err := apply(call(1, 1, 5)); err != ErrSessionStale {
		t.Errorf("after the watermark: %v", err)
	}
	if a.adder.times != 2 {
		t.Errorf("the machine was called %d times", a.adder.times)
	}

	// A third replica from an image goes on like the others.
	apply(call(2, 2, 1))
	c := newReplica(t, SessionsConfig{})
	if err := c.Restore(bytes.NewReader(a.image(t))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.image(t), b.image(t)) || c.Fingerprint() != a.Fingerprint() {
		t.Error("the third replica is another")
	}
	if out, err := c.apply(at, call(2, 2, 1)); err != nil || binary.BigEndian.Uint64(out) != 8 || c.adder.times != 0 {
		t.Errorf("the third replica answers %x, %v, and was called %d times", out, err, c.adder.times)
	}

	// Time passes with any command.
	at = at.Add(31 * time.Minute)
	apply(AppendSessionExpire(nil))
	if _, err := apply(call(3, 2, 1)); err != ErrSessionExpired {
		t.Errorf("after half an hour: %v", err)
	}
	out, err = apply(AppendSessionOpen(nil, [16]byte{9}))
	if err != nil || id.UnmarshalBinary(out) != nil || id.N != 3 {
		t.Errorf("opened %x, %v", out, err)
	}
	if _, err := apply(AppendSessionClose(nil, id)); err != nil {
		t.Error(err)
	}
	if _, err := apply(AppendSessionAcknowledge(nil, id, 2)); err != ErrSessionExpired {
		t.Errorf("after the session was closed: %v", err)
	}
	if st := a.Stats(); st.Sessions != 0 || st.Executed != 2 || st.Replayed != 2 {
		t.Errorf("%+v", st)
	}
}

func TestSessionMachineFingerprint(t *testing.T) {
	prints := make(map[string]SessionsConfig)
	for _, cfg := range []SessionsConfig{{}, {TTL: time.Hour}, {Window: 5}, {MaxSessions: 9}, {MaxEntries: 7}, {MaxResult: 70}, {MaxSessionBytes: 1 << 20}, {MaxBytes: 1 << 20}} {
		f := newReplica(t, cfg).Fingerprint()
		if other, ok := prints[f]; ok {
			t.Errorf("%+v and %+v have the same fingerprint", cfg, other)
		}
		prints[f] = cfg
	}
	if _, err := NewSessionMachine(new(adder), SessionsConfig{Window: -1}); err == nil {
		t.Error("a bad configuration was accepted")
	}
}

// counted returns what there is room for, behind a byte that says how much it is.
func counted(b []byte) []byte {
	b = b[:min(len(b), 255)]
	return append([]byte{byte(len(b))}, b...)
}

// FuzzSessionMachine applies commands, a length before each: whatever they are,
// the machine goes on, and its image is one.
func FuzzSessionMachine(f *testing.F) {
	id := SessionID{[16]byte{7}, 1}
	var good []byte
	for _, cmd := range [][]byte{
		AppendSessionOpen(nil, [16]byte{7}),
		AppendSessionCall(nil, SessionCall{ID: id, Seq: 1, Watermark: 1}, []byte{1}),
		AppendSessionCall(nil, SessionCall{ID: id, Seq: 9, Watermark: 3}, []byte{1}),
		AppendSessionPlain(nil, []byte{3}), AppendSessionAcknowledge(nil, id, 2), AppendSessionExpire(nil), AppendSessionClose(nil, id),
	} {
		good = append(good, counted(cmd)...)
	}
	f.Add(good)
	for _, b := range testutil.Strangers() {
		f.Add(b)
		f.Add(counted(b))
	}
	for _, kind := range []byte("ocaxep") { // each kind of command
		for _, b := range testutil.Lengths(kind) {
			f.Add(append(bytes.Clone(good), counted(b)...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newReplica(t, SessionsConfig{})
		for len(data) > 0 {
			n := min(int(data[0]), len(data)-1)
			if _, err := r.apply(sessionEpoch, data[1:1+n]); err != nil {
				if _, ok := err.(Code); !ok {
					t.Fatalf("an output that is none: %v", err)
				}
			}
			data = data[1+n:]
			if err := r.sessions.check(); err != nil {
				t.Fatal(err)
			}
		}
		if err := newReplica(t, SessionsConfig{}).Restore(bytes.NewReader(r.image(t))); err != nil {
			t.Fatal(err)
		}
	})
}
