package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// rich returns a table with something of everything.
func richSessions(t testing.TB) *Sessions {
	s := newTestSessions(t, SessionsConfig{Window: 16, MaxResult: 100_000})
	for n := range 5 {
		id := openSession(t, s)
		for seq := uint64(1); seq <= 9; seq++ {
			s.Begin(SessionCall{ID: id, Seq: seq, Hash: seq}, sessionEpoch.Add(time.Duration(n)*time.Second))
		}
		for seq := uint64(1); seq <= 9; seq += 2 {
			s.Complete(id, seq, bytes.Repeat([]byte{byte(seq)}, 11_000*n), nil)
		}
		s.Complete(id, 2, make([]byte, 100_001), nil)
		s.Acknowledge(id, uint64(n+1), sessionEpoch)
		if n == 3 {
			s.Close(id)
		}
		if n == 1 {
			s.Recover(sessionEpoch)
		}
	}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionsImage(t *testing.T) {
	s := richSessions(t)
	image := s.image()
	if len(image) < 2*sessionsFrame {
		t.Fatalf("an image of %d bytes is one frame", len(image))
	}
	for name, r := range map[string]func(io.Reader) io.Reader{
		"whole":           func(r io.Reader) io.Reader { return r },
		"one byte a read": iotest.OneByteReader,
		"half a read":     iotest.HalfReader,
	} {
		back := newTestSessions(t, SessionsConfig{Window: 16, MaxResult: 100_000})
		in := io.MultiReader(bytes.NewReader(image), strings.NewReader("what follows"))
		if err := back.Restore(r(in)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := back.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(back.image(), image) {
			t.Errorf("%s: another image", name)
		}
		if rest, _ := io.ReadAll(in); string(rest) != "what follows" {
			t.Errorf("%s: read beyond the image, %q is left", name, rest)
		}
		if a, b := openSession(t, s.clone(t)), openSession(t, back); a != b {
			t.Errorf("%s: the next id is %v, want %v", name, b, a)
		}
	}
	empty := newTestSessions(t, SessionsConfig{})
	back, _ := NewSessions(SessionsConfig{})
	if err := back.Restore(bytes.NewReader(empty.image())); err != nil || back.Table() != empty.Table() || back.Expire(sessionEpoch) != 0 {
		t.Errorf("an empty table: %v", err)
	}
}

func (s *Sessions) clone(t testing.TB) *Sessions {
	c, err := NewSessions(s.cfg)
	if err == nil {
		err = c.Restore(bytes.NewReader(s.image()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A frozen table is written by another goroutine while the table goes on; the
// race detector watches.
func TestSessionsFreeze(t *testing.T) {
	s := newTestSessions(t, SessionsConfig{})
	var ids []SessionID
	for range 20 {
		ids = append(ids, openSession(t, s))
	}
	seq := uint64(0)
	work := func(rounds int) {
		for range rounds {
			seq++
			for _, id := range ids {
				s.Begin(SessionCall{ID: id, Seq: seq, Watermark: max(seq, 32) - 31}, sessionEpoch)
				s.Complete(id, seq, binary.BigEndian.AppendUint64(make([]byte, 50), seq), nil)
			}
		}
	}
	work(100)
	var wg sync.WaitGroup
	for range 5 {
		want := s.image()
		frozen := s.Freeze()
		for range 2 {
			wg.Go(func() {
				var got bytes.Buffer
				if n, err := frozen.WriteTo(&got); err != nil || n != int64(got.Len()) {
					t.Errorf("%d of %d bytes, %v", n, got.Len(), err)
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Error("the image changed after it was frozen")
				}
			})
		}
		work(100)
	}
	wg.Wait()
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

func TestSessionsRestoreRefuses(t *testing.T) {
	image := richSessions(t).image()
	s := newTestSessions(t, SessionsConfig{})
	openSession(t, s)
	before := s.image()
	refuse := func(what string, damaged []byte) {
		t.Helper()
		if err := s.Restore(bytes.NewReader(damaged)); !errors.Is(err, ErrSessionImage) {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(s.image(), before) {
			t.Fatalf("%s: a failed Restore changed the table", what)
		}
	}
	for n := 0; n < len(image); n += 1 + n/7 {
		refuse("cut short", image[:n])
		flipped := bytes.Clone(image)
		flipped[n] ^= 0x10
		refuse("a flipped bit", flipped)
	}
	for name, b := range testutil.Strangers() {
		refuse("no image, but "+name, b)
	}
	broken := errors.New("broken")
	if err := s.Restore(iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrSessionImage) {
		t.Errorf("a reader that fails: %v", err)
	}
	if n, err := s.WriteTo(failingWriter{}); err == nil || n != 0 {
		t.Errorf("a writer that fails: %d, %v", n, err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// sessionFrame makes a frame whose checksum is right.
func sessionFrame(payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, sessionHashTable))
	return append(b, payload...)
}

// FuzzSessionsRestore gives Restore payloads with right checksums. What it
// accepts must be a sound table that makes the same image.
func FuzzSessionsRestore(f *testing.F) {
	image := richSessions(f).image()
	small := newTestSessions(f, SessionsConfig{})
	id := openSession(f, small)
	for seq := uint64(1); seq < 5; seq++ {
		small.Begin(SessionCall{ID: id, Seq: seq}, sessionEpoch)
	}
	small.Complete(id, 3, []byte("three"), nil)
	small.Acknowledge(id, 2, sessionEpoch)
	f.Add(small.image()[8:])
	f.Add(image[8 : 8+200])
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for _, b := range testutil.Lengths([]byte(sessionsImageMagic + "\x01")...) {
		f.Add(b)
	}
	f.Add([]byte(sessionsImageMagic + "\x01"))
	f.Add(append([]byte(sessionsImageMagic+"\x01"), bytes.Repeat([]byte{0xff}, 60)...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := NewSessions(SessionsConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(bytes.NewReader(payload)); err == nil {
			t.Skip("found a checksum")
		}
		if err := s.Restore(bytes.NewReader(sessionFrame(payload))); err != nil {
			if !errors.Is(err, ErrSessionImage) {
				t.Fatal(err)
			}
			return
		}
		// Limits may be exceeded by an image; nothing else may be wrong.
		s.cfg.Window, s.cfg.MaxEntries = SessionMaxWindow, 1<<40
		s.cfg.MaxSessionBytes, s.cfg.MaxBytes, s.cfg.MaxSessions = 1<<50, 1<<50, 1<<40
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		again := s.clone(t)
		if !bytes.Equal(again.image(), s.image()) {
			t.Fatal("a restored table has another image")
		}
		s.Recover(time.UnixMilli(s.now))
		for n := range min(s.next, 20) {
			s.Begin(SessionCall{ID: SessionID{s.table, n}, Seq: 2, Watermark: 1}, time.UnixMilli(s.now))
			s.Close(SessionID{s.table, n})
		}
		s.Expire(time.UnixMilli(s.now).Add(time.Hour))
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzSessionsRecord replays records: a uvarint length before each.
func FuzzSessionsRecord(f *testing.F) {
	j := newSessionJournal(newTestSessions(f, SessionsConfig{Table: [16]byte{1}}))
	j.open(1, sessionEpoch)
	id := SessionID{[16]byte{1}, 1}
	for seq := uint64(1); seq < 4; seq++ {
		j.begin(SessionCall{ID: id, Seq: seq}, sessionEpoch)
	}
	j.complete(id, 1, 1, []byte("one"))
	j.abort(id, 2, 1, ErrUnavailable)
	j.acknowledge(id, 2, 1, sessionEpoch)
	j.close(id, 1)
	var all []byte
	records, _ := j.take()
	for _, r := range records {
		all = append(append(all, byte(len(r))), r...)
	}
	f.Add(all)
	for _, b := range testutil.Strangers() {
		f.Add(b)
		f.Add(counted(b))
	}
	for _, kind := range []byte("towbcax") { // each kind of record
		for _, b := range testutil.Lengths(kind) {
			f.Add(append(bytes.Clone(all), counted(b)...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newTestSessions(t, SessionsConfig{})
		for len(data) > 0 {
			n := min(int(data[0]), len(data)-1)
			record := data[1 : 1+n]
			data = data[1+n:]
			if err := s.replay(record); err != nil {
				if !errors.Is(err, ErrSessionImage) {
					t.Fatal(err)
				}
				break
			}
		}
		s.cfg.Window, s.cfg.MaxEntries = SessionMaxWindow, 1<<40
		s.cfg.MaxSessionBytes, s.cfg.MaxBytes, s.cfg.MaxSessions = 1<<50, 1<<50, 1<<40
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		s.Recover(sessionEpoch)
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
	})
}
