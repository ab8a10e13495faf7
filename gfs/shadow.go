package gfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A shadow (§5.1.3) follows the log of its master on a stream, and the chunkservers
// report to it as they do to the master. On the stream, from the master, are frames:
//
//	kind    u8
//	length  u32   of the payload, little-endian
//	check   u32   CRC32C of the payload
//	payload
//
// First an image in parts, an empty one at its end, and the index that it stands for;
// then commands as they become safe, and when there are none a beat, so that the shadow
// knows that it is level. A shadow that loses its master goes on to answer with what it
// has; its Lag tells how old that is.
const (
	methodTail = "gfs.Tail"

	tailImage   byte = iota // a part of the image
	tailIndex               // the image's index: it is complete
	tailCommand             // index, time, command
	tailBeat                // nothing has happened

	tailHead  = 9
	tailPart  = 256 << 10 // bytes of an image in one frame
	tailBeats = 100 * time.Millisecond
	tailLimit = 65 << 20 // the greatest frame: a command, with its index and time
)

// tailReq opens the stream. The fingerprints have to be the same.
type tailReq struct{ fingerprint string }

func (m *tailReq) code(c *coder) { text(c, &m.fingerprint) }

func (m *tailReq) AppendBinary(dst []byte) ([]byte, error) { return encode(dst, m) }
func (m *tailReq) UnmarshalBinary(src []byte) error        { return decode(src, m) }

func appendTail(dst []byte, kind byte, payload []byte) []byte {
	dst = append(dst, kind)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, blockPoly))
	return append(dst, payload...)
}

// readTail reads a frame into buf, which it returns, grown.
func readTail(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [tailHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, buf, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > tailLimit {
		return 0, buf, fmt.Errorf("a frame of %d bytes", n)
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, buf, err
	}
	if crc32.Checksum(buf, blockPoly) != binary.LittleEndian.Uint32(head[5:]) {
		return 0, buf, fmt.Errorf("%w on the stream of the log", ErrChecksum)
	}
	return head[0], buf, nil
}

// tail serves a shadow.
func (m *Master) tail(ctx context.Context, req *tailReq, st *rpc.Stream) error {
	if m.log == nil {
		return rpc.Refuse(fmt.Errorf("%w: one shadow cannot follow another", rpc.ErrUnavailable))
	}
	if m.epoch.Load() == 0 {
		return errNotLeading
	}
	if have := m.tap.Fingerprint(); have != req.fingerprint {
		return rpc.Refuse(fmt.Errorf("the shadow is of another version: %q, not %q", req.fingerprint, have))
	}
	image, at, err := m.tap.follow()
	if err != nil {
		return err
	}
	defer m.tap.unfollow()
	follower := m.tails.add(st.RemoteAddr())
	defer m.tails.remove(follower)
	m.cfg.Logger.Info("a shadow follows", "addr", st.RemoteAddr())
	w := bufio.NewWriterSize(st, tailPart+tailHead)
	if err := m.sendImage(ctx, w, image, at.index); err != nil {
		return err
	}
	beat := time.NewTicker(tailBeats)
	defer beat.Stop()
	var frame []byte
	for {
		level := true
		commands, more, err := m.tap.after(at)
		if err != nil {
			return err
		}
		if len(commands) == 0 {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-beat.C:
			}
			// What the shadow knows is all there is, and it is safe.
			if _, err := m.log.Confirm(ctx); err != nil {
				return err
			}
			if later, _, err := m.tap.after(at); err != nil || len(later) > 0 {
				continue
			}
			frame = appendTail(frame[:0], tailBeat, nil)
		} else {
			if _, err := m.log.Confirm(ctx); err != nil { // a shadow never shows what a crash takes back
				return err
			}
			last := commands[len(commands)-1].index
			frame, at.index = appendTailCommands(frame[:0], commands)
			if level = at.index == last; level { // where commands never cease there is no other beat
				frame = appendTail(frame, tailBeat, nil)
			}
		}
		if _, err := w.Write(frame); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		follower.sent(level, at.index)
	}
}

// appendTailCommands appends as many of the commands as go into a part, and returns the
// index of the last of those.
func appendTailCommands(dst []byte, commands []tapped) (_ []byte, last uint64) {
	var payload []byte
	for _, c := range commands {
		payload = binary.AppendUvarint(payload[:0], c.index)
		payload = binary.AppendVarint(payload, c.at.UnixNano())
		dst = appendTail(dst, tailCommand, append(payload, c.cmd...))
		last = c.index
		if len(dst) > tailPart {
			break
		}
	}
	return dst, last
}

// A tailWriter writes an image in parts.
type tailWriter struct {
	w     io.Writer
	frame []byte
}

func (t *tailWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), tailPart)]
		t.frame = appendTail(t.frame[:0], tailImage, part)
		if _, err := t.w.Write(t.frame); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

func (m *Master) sendImage(ctx context.Context, w *bufio.Writer, image io.WriterTo, index uint64) error {
	parts := bufio.NewWriterSize(&tailWriter{w: w}, tailPart)
	if _, err := image.WriteTo(parts); err != nil {
		return err
	}
	if err := parts.Flush(); err != nil {
		return err
	}
	if _, err := m.log.Confirm(ctx); err != nil {
		return err
	}
	end := appendTail(nil, tailImage, nil)
	if _, err := w.Write(appendTail(end, tailIndex, binary.AppendUvarint(nil, index))); err != nil {
		return err
	}
	return w.Flush()
}

// shadowRetry is how long a shadow waits before it looks for its master again.
const shadowRetry = 200 * time.Millisecond

// followMaster makes this the shadow of a master, until ctx ends.
func (m *Master) followMaster(ctx context.Context) {
	defer close(m.done)
	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport: m.cfg.Transport, Addrs: m.cfg.Follow, Cluster: m.cfg.Cluster, Secret: m.cfg.Secret, Logger: m.cfg.Logger,
	})
	if err != nil {
		m.err = &Error{Op: "follow", Path: fmt.Sprint(m.cfg.Follow), Err: err}
		return
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { m.watchServers(ctx) })
	said := grumble{}
	for ctx.Err() == nil {
		err := m.followOnce(ctx, client)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrConfig) {
			m.err = err
			return
		}
		if said.again(time.Now(), err) {
			m.cfg.Logger.Warn("the shadow does not follow its master; it goes on trying", "masters", m.cfg.Follow, "error", err)
		}
		pause := time.NewTimer(shadowRetry)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// watchServers lets the fleet of a shadow notice which chunkservers have died.
func (m *Master) watchServers(ctx context.Context) {
	m.state.watch(true)
	tick := time.NewTicker(m.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			touched := m.state.takeTouched()
			m.fleetMu.Lock()
			for _, h := range touched {
				m.fleet.touched(h)
			}
			acts := m.fleet.tick(time.Now())
			m.fleetMu.Unlock()
			for _, id := range acts.dead {
				m.events.addf("chunkserver %d is given up for dead", id)
			}
			m.sample()
		}
	}
}

// followOnce follows one stream to its end.
func (m *Master) followOnce(ctx context.Context, client *rpc.Client) error {
	asked := time.Now()
	st, err := rpc.OpenStream(ctx, client, methodTail, &tailReq{fingerprint: m.tap.Fingerprint()})
	if err != nil {
		return err
	}
	defer st.Close()
	defer context.AfterFunc(ctx, func() { st.Close() })()
	r := bufio.NewReaderSize(st, tailPart)
	index, err := m.restoreImage(r)
	if err != nil {
		return err
	}
	if have := m.state.sizeOfChunks(); have != m.cfg.ChunkSize {
		return &Error{Op: "follow", Path: st.RemoteAddr().String(), Err: fmt.Errorf("%w: MasterConfig.ChunkSize is %d; chunks of this cluster have %d bytes", ErrConfig, m.cfg.ChunkSize, have)}
	}
	m.level(asked) // the image is of a later time
	m.cfg.Logger.Info("the shadow follows its master", "from", st.RemoteAddr(), "index", index)
	var buf []byte
	for {
		var kind byte
		if kind, buf, err = readTail(r, buf); err != nil {
			return err
		}
		switch kind {
		case tailBeat:
			m.level(time.Now())
			m.sample()
		case tailCommand:
			next, n := binary.Uvarint(buf)
			if n <= 0 {
				return errTail
			}
			at, k := binary.Varint(buf[n:])
			if k <= 0 || next <= index {
				return errTail
			}
			m.tap.Apply(next, time.Unix(0, at).UTC(), buf[n+k:], nil)
			index = next
			m.poke()
		default:
			return errTail
		}
	}
}

var errTail = errors.New("the stream of the log makes no sense")

// restoreImage takes the image at the beginning of a stream, and returns its index.
func (m *Master) restoreImage(r io.Reader) (index uint64, err error) {
	image, parts := io.Pipe()
	restored := make(chan error, 1)
	go func() {
		err := m.restore(image)
		image.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		restored <- err
	}()
	err = copyImage(parts, r)
	parts.CloseWithError(err) // io.EOF if that is nil
	if restore := <-restored; restore != nil || err != nil {
		return 0, errors.Join(err, restore)
	}
	kind, payload, err := readTail(r, nil)
	if err != nil {
		return 0, err
	}
	index, n := binary.Uvarint(payload)
	if kind != tailIndex || n != len(payload) {
		return 0, errTail
	}
	return index, nil
}

// copyImage passes on the parts of an image, up to the empty one.
func copyImage(w io.Writer, r io.Reader) error {
	var buf []byte
	for {
		kind, part, err := readTail(r, buf)
		buf = part
		switch {
		case err != nil:
			return err
		case kind != tailImage:
			return errTail
		case len(part) == 0:
			return nil
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
}

// restore makes the state that of an image. What chunkservers have reported stays.
func (m *Master) restore(image io.Reader) error {
	m.tap.mu.Lock()
	defer m.tap.mu.Unlock()
	if err := m.tap.restore(image); err != nil {
		return err
	}
	m.fleetMu.Lock()
	m.fleet.review(time.Now())
	m.fleetMu.Unlock()
	_, err := io.Copy(io.Discard, image) // what a buffered reader has left
	return err
}

// level notes that all that the master had decided at a time is known here.
func (m *Master) level(at time.Time) { m.applied.Store(at.UnixNano()) }

// Lag returns how old what a shadow answers may be, and 0 for a master: what it does not
// know yet happened later than that.
func (m *Master) Lag() time.Duration {
	if m.log != nil {
		return 0
	}
	at := m.applied.Load()
	if at == 0 {
		return 1<<63 - 1 // it knows nothing yet
	}
	return time.Since(time.Unix(0, at))
}
