package rpc

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/trilith-go/trilith/internal/wire"
)

// The image of a table is a sequence of frames, each the length of its payload
// and the CRC32C of it (4 bytes each, little end first) and the payload. A
// payload holds whole records: the head, then for each session, the longest
// idle first, its own record and one for each sequence from its watermark up.
// An image is read to its last byte and no further, so that it can be a part of
// a larger one.
const (
	sessionsImageMagic   = "trilith sessions"
	sessionsImageVersion = 1

	sessionsFrame    = 64 << 10 // payload bytes after which a frame is written
	sessionsFrameMax = SessionMaxResult + sessionsFrame + 1<<20
)

var _ io.WriterTo = (*Sessions)(nil)
var _ io.WriterTo = (*sessionsImage)(nil)

// WriteTo writes the image of the table. Equal tables have equal images.
func (s *Sessions) WriteTo(w io.Writer) (int64, error) {
	f := sessionsFramer{w: w}
	f.head(s.table, s.next, s.now, len(s.byN))
	for ss := s.root.newer; ss != &s.root; ss = ss.newer {
		f.session(ss, s.now)
	}
	return f.finish()
}

// sessionsImage is a frozen table.
type sessionsImage struct {
	table     [16]byte
	next      uint64
	now       int64
	sessions  []sessionState
	ringSlots []sessionEntry // the memory of their rings
}

// Freeze returns the image of the table as it is now, in time proportional to
// the entries and not to their bytes. The table can be used while the image is
// written, by another goroutine too. The image may be written more than once.
func (s *Sessions) Freeze() io.WriterTo {
	n := 0
	for ss := s.root.newer; ss != &s.root; ss = ss.newer {
		n += len(ss.ring)
	}
	m := &sessionsImage{
		table: s.table, next: s.next, now: s.now,
		sessions:  make([]sessionState, 0, len(s.byN)),
		ringSlots: make([]sessionEntry, 0, n),
	}
	for ss := s.root.newer; ss != &s.root; ss = ss.newer {
		for i := range ss.ring {
			ss.ring[i].shared = true
		}
		c := *ss
		m.ringSlots = append(m.ringSlots, ss.ring...)
		c.ring = m.ringSlots[len(m.ringSlots)-len(ss.ring):]
		c.orphans = append([]sessionOrphan(nil), ss.orphans...)
		c.older, c.newer = nil, nil
		m.sessions = append(m.sessions, c)
	}
	return m
}

func (m *sessionsImage) WriteTo(w io.Writer) (int64, error) {
	f := sessionsFramer{w: w}
	f.head(m.table, m.next, m.now, len(m.sessions))
	for i := range m.sessions {
		f.session(&m.sessions[i], m.now)
	}
	return f.finish()
}

// sessionsFramer cuts records into frames.
type sessionsFramer struct {
	w       io.Writer
	buf     []byte // a frame in the making, its 8 bytes of header first
	written int64
	err     error
}

func (f *sessionsFramer) head(table [16]byte, next uint64, now int64, sessions int) {
	f.buf = append(f.buf, make([]byte, 8)...)
	f.buf = append(f.buf, sessionsImageMagic...)
	f.buf = append(f.buf, sessionsImageVersion)
	f.buf = append(f.buf, table[:]...)
	f.buf = binary.AppendUvarint(f.buf, next)
	f.buf = binary.AppendVarint(f.buf, now)
	f.buf = binary.AppendUvarint(f.buf, uint64(sessions))
}

func (f *sessionsFramer) session(ss *sessionState, now int64) {
	f.buf = binary.AppendUvarint(f.buf, ss.n)
	f.buf = binary.AppendUvarint(f.buf, ss.watermark)
	f.buf = binary.AppendUvarint(f.buf, ss.top-ss.watermark)
	f.buf = binary.AppendUvarint(f.buf, uint64(now-ss.last))
	f.buf = wire.AppendBool(f.buf, ss.closed)
	f.buf = binary.AppendUvarint(f.buf, uint64(len(ss.orphans)))
	for _, o := range ss.orphans {
		f.buf = binary.AppendUvarint(f.buf, o.seq)
	}
	f.record()
	for seq := ss.watermark; seq < ss.top; seq++ {
		e := &ss.ring[seq&uint64(len(ss.ring)-1)]
		f.buf = append(f.buf, byte(e.phase))
		if e.phase != sessionFree {
			f.buf = binary.LittleEndian.AppendUint64(f.buf, e.hash)
		}
		if e.phase == sessionDone {
			f.buf = wire.AppendBytes(f.buf, e.result)
		}
		f.record()
	}
}

// record ends a record, and the frame if it is long enough.
func (f *sessionsFramer) record() {
	if len(f.buf) >= 8+sessionsFrame {
		f.flush()
	}
}

func (f *sessionsFramer) flush() {
	payload := f.buf[8:]
	binary.LittleEndian.PutUint32(f.buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(f.buf[4:], crc32.Checksum(payload, sessionHashTable))
	if f.err == nil {
		var n int
		n, f.err = f.w.Write(f.buf)
		f.written += int64(n)
	}
	f.buf = f.buf[:8]
}

func (f *sessionsFramer) finish() (int64, error) {
	if len(f.buf) > 8 {
		f.flush()
	}
	return f.written, f.err
}

// Restore makes the table the one whose image r gives, waiters apart, and reads
// no further than the image goes. The limits stay as configured: a table beyond
// them keeps what it has and refuses more. If Restore fails, the table is as it
// was; a damaged image gives ErrSessionImage.
func (s *Sessions) Restore(r io.Reader) error {
	t := &Sessions{cfg: s.cfg, planted: s.planted}
	t.reset()
	in := sessionsReader{r: r}
	if err := in.table(t); err != nil {
		return err
	}
	t.stats = s.stats
	*s = *t
	// The ring of sessions is closed by the table itself.
	s.root.newer.older, s.root.older.newer = &s.root, &s.root
	if len(s.byN) == 0 {
		s.root.older, s.root.newer = &s.root, &s.root
	}
	return nil
}

// sessionsReader reads frames and hands out decoders at the start of a record.
type sessionsReader struct {
	r     io.Reader
	frame []byte
	d     wire.Decoder
}

// record returns a decoder with at least one record, unless it has failed.
func (in *sessionsReader) record() (*wire.Decoder, error) {
	if err := in.d.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSessionImage, err)
	}
	if in.d.Len() > 0 {
		return &in.d, nil
	}
	var head [8]byte
	if _, err := io.ReadFull(in.r, head[:]); err != nil {
		return nil, sessionsTorn(err)
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n == 0 || n > sessionsFrameMax {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrSessionImage, n)
	}
	// The buffer grows as bytes arrive, whatever the length claims.
	in.frame = in.frame[:0]
	for len(in.frame) < n {
		at := len(in.frame)
		in.frame = append(in.frame, make([]byte, min(n-at, max(at, sessionsFrame)))...)
		if _, err := io.ReadFull(in.r, in.frame[at:]); err != nil {
			return nil, sessionsTorn(err)
		}
	}
	if crc32.Checksum(in.frame, sessionHashTable) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: checksum of a frame is wrong", ErrSessionImage)
	}
	in.d = wire.NewDecoder(in.frame)
	return &in.d, nil
}

// sessionsTorn tells an image that ends too early from a reader that failed.
func sessionsTorn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: %w", ErrSessionImage, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("rpc: reading the image of a session table: %w", err)
}

func (in *sessionsReader) table(t *Sessions) error {
	d, err := in.record()
	if err != nil {
		return err
	}
	if string(d.Next(len(sessionsImageMagic))) != sessionsImageMagic {
		d.Fail("no image of a session table")
	}
	if v := d.Byte(); v != sessionsImageVersion {
		d.Fail("version %d is not known", v)
	}
	copy(t.table[:], d.Next(len(t.table)))
	t.next = d.Uvarint()
	t.now = d.Varint()
	sessions := d.Uvarint()
	if sessions >= max(t.next, 1) {
		d.Fail("%d sessions of %d ever opened", sessions, t.next)
	}
	for range sessions {
		if err := in.session(t); err != nil {
			return err
		}
	}
	if err := in.d.Finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrSessionImage, err)
	}
	return nil
}

func (in *sessionsReader) session(t *Sessions) error {
	d, err := in.record()
	if err != nil {
		return err
	}
	n, watermark, span := d.Uvarint(), d.Uvarint(), d.Int(SessionMaxWindow)
	idle := d.Uvarint()
	closed := d.Bool()
	last := t.now - int64(idle)
	switch {
	case d.Err() != nil:
	case n == 0 || n >= t.next || t.byN[n] != nil:
		d.Fail("session %d is out of place", n)
	case watermark == 0 || watermark+uint64(span) < watermark:
		d.Fail("watermark %d is out of range", watermark)
	case last > t.now || int64(idle) < 0 || len(t.byN) > 0 && last < t.root.older.last:
		d.Fail("sessions are not in order of activity")
	}
	ss := &sessionState{n: n, watermark: watermark, top: watermark, last: last, closed: closed}
	in.orphans(t, ss, d)
	if closed && (span > 0 || len(ss.orphans) == 0) {
		d.Fail("a closed session holds more or less than orphans")
	}
	if d.Err() == nil {
		t.byN[n] = ss
		ss.older, ss.newer = t.root.older, &t.root
		ss.older.newer, t.root.older = ss, ss
	}
	for range span {
		if err := in.entry(t, ss); err != nil {
			return err
		}
	}
	return nil
}

func (in *sessionsReader) orphans(t *Sessions, ss *sessionState, d *wire.Decoder) {
	n := d.Count(1)
	if n > SessionMaxWindow {
		d.Fail("%d orphans", n)
		return
	}
	seen := make(map[uint64]bool, n)
	for range n {
		seq := d.Uvarint()
		if seq == 0 || seq >= ss.watermark || seen[seq] {
			d.Fail("orphan %d is out of place", seq)
			return
		}
		seen[seq] = true
		ss.orphans = append(ss.orphans, sessionOrphan{seq: seq})
	}
	t.slots += n
	t.account(ss, int64(n)*sessionSlotBytes)
	ss.running += n
	t.running += n
}

func (in *sessionsReader) entry(t *Sessions, ss *sessionState) error {
	d, err := in.record()
	if err != nil {
		return err
	}
	phase := sessionPhase(d.Byte())
	seq := ss.top
	t.stretch(ss, seq+1)
	if phase == sessionFree {
		return nil
	}
	e := &ss.ring[seq&uint64(len(ss.ring)-1)]
	*e = sessionEntry{phase: phase, hash: d.Uint64()}
	switch phase {
	case sessionDone:
		b := d.Bytes()
		if len(b) > SessionMaxResult {
			d.Fail("a result of %d bytes", len(b))
		}
		e.result = t.pool.copy(b)
		t.account(ss, sessionSize(len(b)))
	case sessionRunning:
		t.account(ss, t.reserve())
		ss.running++
		t.running++
	case sessionTooLarge, sessionUnknown:
	default:
		d.Fail("a call in phase %d", phase)
	}
	return nil
}
