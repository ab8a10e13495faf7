package vmft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// streamWorld is clients and a machine that fails over, without goroutines: the log with what
// is acknowledged of it, attachments whose frames come in order until they are cut.
type streamWorld struct {
	r       *rand.Rand
	bugs    streamWorldBugs
	log     []logged
	acked   int // entries that the backup has
	started []byte
	from    int // entries that the image has
	live    *streamMachine
	held    []heldOutput
	out     int // of the log: outputs before it are in held
	desk    *streamDesk
	clients []*simStream
	now     time.Time
	number  uint64

	failovers, cuts, images int
}

type streamWorldBugs struct {
	table                  streamBugs
	ackEarly, releaseEarly bool
}

type logged struct {
	at    uint64
	event []byte // nil: progress
}

type heldOutput struct {
	after int // released when so many entries are acknowledged
	wire  []byte
}

type simStream struct {
	s         *Stream
	opened    bool
	side      *deskStream
	number    uint64
	here      talk
	up, down  [][]byte
	sent      []byte
	got       []byte
	total     int
	ended     bool
	abort     int // bytes after which it is reset; 0: never
	finished  bool
	failed    error
	refused   bool
	attaching bool
	welcomed  bool
	conn      uint64
}

func newStreamWorld(seed uint64, bugs streamWorldBugs) *streamWorld {
	w := &streamWorld{r: rand.New(rand.NewPCG(seed, 1)), bugs: bugs, now: time.Unix(1e9, 0)}
	w.live = w.machine()
	w.desk = newStreamDesk(w.live.table, DefaultStreamTimeout, w.now)
	for i := range 1 + w.r.IntN(3) {
		c := &simStream{total: w.r.IntN(20000)}
		port := uint16(echoPort)
		switch w.r.IntN(8) {
		case 0:
			c.abort = 1 + c.total/2
		case 1:
			port++
		}
		c.s = &Stream{port: port, from: netip.MustParseAddrPort("10.0.0.1:99")}
		c.s.id[0], c.s.id[1] = byte(i+1), byte(seed)
		c.s.side.in = talkAckment{limit: c.s.in.limit()}
		w.clients = append(w.clients, c)
	}
	return w
}

func (w *streamWorld) machine() *streamMachine {
	m := newStreamMachine(&echoProcessor{keyed: true}, echoNetwork{})
	m.table.bugs = w.bugs.table
	return m
}

// enter logs an entry, and takes what has left before it and by it.
func (w *streamWorld) enter(event []byte) error {
	w.log = append(w.log, logged{w.live.Position(), event})
	if event != nil {
		if err := w.live.Inject(event); err != nil {
			return err
		}
	}
	for {
		_, out, ok := w.live.NextOutput()
		if !ok {
			return w.live.table.check()
		}
		if w.bugs.releaseEarly {
			w.release(out)
		} else {
			w.held = append(w.held, heldOutput{len(w.log), out})
		}
	}
}

func (w *streamWorld) release(out []byte) {
	if out[0] == tagPlain {
		return
	}
	n, err := parseStreamNote(out)
	if err != nil {
		panic(err)
	}
	for _, c := range w.clients {
		if c.attaching && c.s.id == n.id && n.kind == noteRefused {
			c.refused, c.attaching = true, false
		}
	}
	w.desk.released(&n, w.now)
}

// settle has events of the desk logged, and outputs released.
func (w *streamWorld) settle(all bool) error {
	for len(w.desk.events) > 0 {
		e := w.desk.events[0].append(nil)
		w.desk.events = w.desk.events[1:]
		if err := w.enter(e); err != nil {
			return err
		}
	}
	if all {
		w.acked = len(w.log)
	}
	for len(w.held) > 0 && w.held[0].after <= w.acked {
		out := w.held[0].wire
		w.held = w.held[1:]
		w.release(out)
	}
	return nil
}

// replay makes a machine of so many entries.
func (w *streamWorld) replay(k int) (*streamMachine, error) {
	m := w.machine()
	if w.started != nil {
		if err := m.Restore(bytes.NewReader(w.started)); err != nil {
			return nil, err
		}
	}
	for _, e := range w.log[w.from:k] {
		for m.Position() < e.at {
			m.Run(min(e.at, m.Position()+1+w.r.Uint64N(50)))
			if w.r.IntN(3) == 0 {
				m.NextOutput()
			}
		}
		if e.event != nil {
			if err := m.Inject(e.event); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// failover has a machine go on that has what is acknowledged, and some of what comes after.
func (w *streamWorld) failover() error {
	w.failovers++
	k := w.acked + w.r.IntN(len(w.log)-w.acked+1)
	m, err := w.replay(k)
	if err != nil {
		return err
	}
	if k == len(w.log) && len(w.held) == 0 && w.live.Position() == m.Position() && m.Hash() != w.live.Hash() {
		return errors.New("two machines with one log differ")
	}
	w.log, w.held, w.acked = w.log[:k], nil, k
	for _, _, ok := m.NextOutput(); ok; _, _, ok = m.NextOutput() {
	}
	w.live = m
	w.desk = newStreamDesk(m.table, DefaultStreamTimeout, w.now)
	for _, c := range w.clients {
		c.cut()
	}
	return nil
}

// freeze makes an image that replays begin with.
func (w *streamWorld) freeze() error {
	if w.acked < len(w.log) {
		return nil
	}
	image, err := w.live.Freeze()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		return err
	}
	w.images++
	w.started, w.from = b.Bytes(), len(w.log)
	return nil
}

func (c *simStream) cut() { c.side, c.up, c.down, c.attaching = nil, nil, nil, false }

// attach attaches a client, in steps if it has to be opened.
func (w *streamWorld) attach(c *simStream) {
	h := &streamHello{id: c.s.id, fresh: !c.opened, port: c.s.port, from: c.s.from, ack: c.s.side.in}
	w.number++
	s := w.desk.attach(h, w.number)
	if s == nil {
		switch {
		case c.opened:
			c.s.broke(ErrStreamLost)
		case !c.attaching:
			c.attaching = true
			e := streamEvent{kind: streamOpen, id: c.s.id, port: c.s.port, from: c.s.from}
			w.desk.events = append(w.desk.events, e)
		}
		return
	}
	c.opened, c.attaching, c.welcomed, c.side, c.number = true, false, false, s, w.number
	if s := w.live.table.byID[h.id]; s != nil {
		c.conn = s.conn
	}
	c.here = talk{ack: h.ack}
	s.talk.ack = s.side.in
	c.down = [][]byte{appendFrame(nil, talkWelcome, s.side.in.append([]byte{welcomeOK}))}
}

// cutFrames cuts what was said into frames.
func cutFrames(b []byte) (all [][]byte) {
	for len(b) > 0 {
		n := frameHead + int(le.Uint32(b[1:]))
		all = append(all, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return all
}

func (w *streamWorld) step(c *simStream) error {
	if c.failed != nil || c.refused || c.finished {
		return nil
	}
	if c.s.gone && c.s.unread.base == c.s.unread.end {
		c.finished = true
		return nil
	}
	switch w.r.IntN(7) {
	case 0: // the client's program writes, and ends
		switch n := min(w.r.IntN(3000), c.total-len(c.sent), int(streamWindow-(c.s.side.out.end-c.s.side.out.base))); {
		case n > 0 && c.opened:
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(w.r.Uint32())
			}
			c.s.side.out.write(b)
			c.sent = append(c.sent, b...)
		case len(c.sent) == c.total && c.opened && !c.ended:
			c.ended = true
			c.s.side.out.ended = true
		}
	case 1: // and reads
		var b [2000]byte
		c.s.mu.Lock()
		n, err := c.s.read(b[:w.r.IntN(len(b))])
		c.s.mu.Unlock()
		c.got = append(c.got, b[:n]...)
		if err != nil {
			c.failed = err
		}
		if c.abort > 0 && len(c.got) >= c.abort {
			_ = c.s.Reset()
		}
	case 2:
		if c.side == nil {
			w.attach(c)
		}
	case 3: // it speaks
		if c.side != nil && c.welcomed {
			b, over := c.s.say(&c.here, nil)
			c.up = append(c.up, cutFrames(b)...)
			if over && len(b) == 0 && len(c.up) == 0 && c.s.unread.base == c.s.unread.end {
				c.finished = true
			}
		}
	case 4: // the node hears
		if c.side != nil && len(c.up) > 0 {
			f, err := parseTalk(c.up[0][0], c.up[0][frameHead:])
			if err != nil {
				return err
			}
			c.up = c.up[1:]
			w.desk.ackEarly = w.bugs.ackEarly
			if err := w.desk.heard(c.side, &f); err != nil {
				return err
			}
		}
	case 5: // it speaks
		if c.side != nil && c.side.attached == c.number {
			c.down = append(c.down, cutFrames(c.side.talk.say(&c.side.side, nil))...)
		}
	case 6: // the client hears
		if c.side != nil && len(c.down) > 0 {
			f, err := parseTalk(c.down[0][0], c.down[0][frameHead:])
			if err != nil {
				return err
			}
			c.down, c.welcomed = c.down[1:], true
			if err := c.s.heard(&f); err != nil && !errors.Is(err, context.Canceled) && f.kind != talkReset {
				return err
			}
		}
	}
	return nil
}

// check compares what a client has with what the machine says that it has sent, and that with
// what it was to send.
func (w *streamWorld) check(c *simStream) error {
	h := w.live.Processor.(*echoProcessor).remembered(c.conn)
	if len(c.got) > len(h.sent) || len(h.sent) > len(c.sent) {
		return fmt.Errorf("%d bytes have come back, %d were sent back, of %d", len(c.got), len(h.sent), len(c.sent))
	}
	for i, b := range c.got {
		if want := h.sent[i]; b != want || want^h.key[i] != echoByte(uint64(i), c.sent[i]) {
			return fmt.Errorf("byte %d of %d is %x, %x was sent for %x", i, len(c.got), b, want, c.sent[i])
		}
	}
	return nil
}

func (w *streamWorld) run(steps int, chaos bool) error {
	for range steps {
		c := w.clients[w.r.IntN(len(w.clients))]
		if err := w.step(c); err != nil {
			return err
		}
		w.live.Run(w.live.Position() + w.r.Uint64N(20))
		if w.r.IntN(3) == 0 {
			if err := w.enter(nil); err != nil {
				return err
			}
		}
		if w.r.IntN(10) == 0 {
			w.acked += w.r.IntN(len(w.log) - w.acked + 1)
		}
		if err := w.settle(!chaos); err != nil {
			return err
		}
		var err error
		switch {
		case chaos && w.r.IntN(150) == 0:
			err = w.failover()
		case chaos && w.r.IntN(60) == 0:
			w.cuts++
			if c.side != nil {
				w.desk.detach(c.side, c.number, w.now)
			}
			c.cut()
		case w.r.IntN(100) == 0:
			err = w.freeze()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prove runs a world through chaos and then until all is over.
func (w *streamWorld) prove() error {
	if err := w.run(1500, true); err != nil {
		return err
	}
	for range 60 {
		if err := w.run(1000, false); err != nil {
			return err
		}
		open := 0
		for _, c := range w.clients {
			if err := w.check(c); err != nil {
				return err
			}
			if c.failed == nil && !c.refused && !c.finished {
				open++
			}
		}
		if open == 0 {
			break
		}
	}
	for i, c := range w.clients {
		switch {
		case c.s.port != echoPort:
			if !c.refused {
				return fmt.Errorf("client %d was not refused", i)
			}
		case c.abort > 0 && (c.failed != nil || c.finished):
		case errors.Is(c.failed, syscall.ECONNRESET) || c.failed != nil && c.failed.Error() != "EOF":
			return fmt.Errorf("client %d: %w", i, c.failed)
		case len(c.got) != c.total:
			return fmt.Errorf("client %d has %d bytes of %d (%d sent), and waits", i, len(c.got), c.total, len(c.sent))
		}
	}
	return w.live.table.check()
}

// TestStreamSimulation: bytes come through fail-overs and lost attachments in order, none
// lost or repeated, and connections end in an orderly way.
func TestStreamSimulation(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 50
	}
	var failovers, cuts, images int
	for seed := range seeds {
		w := newStreamWorld(seed, streamWorldBugs{})
		if err := w.prove(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		failovers, cuts, images = failovers+w.failovers, cuts+w.cuts, images+w.images
	}
	if failovers < int(seeds) || cuts < int(seeds) || images < int(seeds) {
		t.Errorf("%d fail-overs, %d lost attachments, %d images: too few", failovers, cuts, images)
	}
	t.Logf("%d fail-overs, %d lost attachments, %d images", failovers, cuts, images)
}

// TestStreamBugs: the simulation finds what is planted.
func TestStreamBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats on one goroutine")
	}
	for name, bugs := range map[string]streamWorldBugs{
		"acknowledge input early":        {ackEarly: true},
		"release output early":           {releaseEarly: true},
		"forget output before it is had": {table: streamBugs{forgetEarly: true}},
		"take what arrives again":        {table: streamBugs{trustOffset: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				if err := newStreamWorld(seed, bugs).prove(); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found in 200 seeds")
		})
	}
}
