package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// CommandMachine is a deterministic state machine driven by the commands of a
// log: the Machine of the packages that declare a Log.
type CommandMachine interface {
	// Apply executes a command and appends its output to dst. It is called from
	// one goroutine; cmd is borrowed.
	Apply(index uint64, at time.Time, cmd, dst []byte) []byte
	// Freeze returns an image of now; Apply goes on.
	Freeze() (io.WriterTo, error)
	// Restore makes the machine the one of an image.
	Restore(r io.Reader) error
	// Fingerprint names the format and the version of the code.
	Fingerprint() string
}

// SessionMachine puts a duplicate table in front of a machine, as a part of it:
// the table's entry, the mutation and the result come from one entry of the log
// and are in one image, so they survive together or not at all, and every
// replica has them.
//
// It is a CommandMachine itself. Its commands are made by the AppendSession
// functions and its outputs are read by ParseSessionOutput; the machine behind
// it sees the commands of AppendSessionCall and AppendSessionPlain as they were
// before. The shell in front proposes what arrives, also what arrives again, and
// answers with the output: repeats find the first one's result.
//
// Sessions expire by the time of the log's entries, whichever they are. A host
// without traffic lets nothing expire, unless it proposes AppendSessionExpire
// now and then.
//
// Like every machine it is called from one goroutine.
type SessionMachine struct {
	machine  CommandMachine
	sessions *Sessions
}

var _ CommandMachine = (*SessionMachine)(nil)

// NewSessionMachine returns machine with an empty table in front of it. The error
// names the field of cfg that is wrong. Without cfg.Table, the first open command
// names the table, so that a log names its own.
func NewSessionMachine(machine CommandMachine, cfg SessionsConfig) (*SessionMachine, error) {
	sessions, err := NewSessions(cfg)
	if err != nil {
		return nil, err
	}
	return &SessionMachine{machine, sessions}, nil
}

// Stats returns the figures of the table.
func (m *SessionMachine) Stats() SessionsStats { return m.sessions.Stats() }

// Kinds of commands, and of outputs.
const (
	sessionCommandOpen   = 'o'
	sessionCommandCall   = 'c'
	sessionCommandAck    = 'a'
	sessionCommandClose  = 'x'
	sessionCommandExpire = 'e'
	sessionCommandPlain  = 'p'

	sessionOutputResult = 0
	sessionOutputError  = 1
)

// AppendSessionOpen appends the command that opens a session; its result is the
// id, for SessionID.UnmarshalBinary. uuid is drawn at random by whoever proposes
// the command; that of the first open command becomes the table's.
func AppendSessionOpen(dst []byte, uuid [16]byte) []byte {
	return append(append(dst, sessionCommandOpen), uuid[:]...)
}

// AppendSessionCall appends the command that executes cmd once, however often it
// is proposed; its result is the machine's output. Waiter and NoWait are not part
// of it.
func AppendSessionCall(dst []byte, c SessionCall, cmd []byte) []byte {
	dst = appendSessionID(append(dst, sessionCommandCall), c.ID)
	dst = binary.AppendUvarint(dst, c.Seq)
	dst = binary.AppendUvarint(dst, c.Watermark)
	dst = binary.LittleEndian.AppendUint64(dst, c.Hash)
	return append(dst, cmd...)
}

// AppendSessionAcknowledge appends the command that tells the client's watermark.
// Its result is empty.
func AppendSessionAcknowledge(dst []byte, id SessionID, watermark uint64) []byte {
	dst = appendSessionID(append(dst, sessionCommandAck), id)
	return binary.AppendUvarint(dst, watermark)
}

// AppendSessionClose appends the command that ends a session. Its result is empty.
func AppendSessionClose(dst []byte, id SessionID) []byte {
	return appendSessionID(append(dst, sessionCommandClose), id)
}

// AppendSessionExpire appends a command that does nothing but let time pass.
// Its result is empty.
func AppendSessionExpire(dst []byte) []byte { return append(dst, sessionCommandExpire) }

// AppendSessionPlain appends the command that hands cmd to the machine without
// regard to sessions: for what is harmless to repeat.
func AppendSessionPlain(dst, cmd []byte) []byte {
	return append(append(dst, sessionCommandPlain), cmd...)
}

// ParseSessionOutput takes an output of a SessionMachine apart: the result, which
// is a part of out, or the table's answer as an error.
func ParseSessionOutput(out []byte) (result []byte, err error) {
	switch {
	case len(out) > 0 && out[0] == sessionOutputResult:
		return out[1:], nil
	case len(out) > 1 && out[0] == sessionOutputError:
		return nil, Code(out[1:])
	}
	return nil, fmt.Errorf("%w: no output of a session machine", ErrMessage)
}

func appendSessionID(dst []byte, id SessionID) []byte {
	dst, _ = id.AppendBinary(dst)
	return dst
}

// Apply executes a command. A malformed one has no effect but to let time pass,
// and its output is ErrMessage.
func (m *SessionMachine) Apply(index uint64, at time.Time, cmd, dst []byte) []byte {
	m.sessions.Expire(at)
	n := len(dst)
	dst, err := m.apply(index, at, cmd, append(dst, sessionOutputResult))
	if err != nil {
		code, ok := err.(Code)
		if !ok {
			code = ErrMessage
		}
		return append(append(dst[:n], sessionOutputError), code...)
	}
	return dst
}

func (m *SessionMachine) apply(index uint64, at time.Time, cmd, dst []byte) ([]byte, error) {
	d := wire.NewDecoder(cmd)
	switch kind := d.Byte(); kind {
	case sessionCommandOpen:
		var uuid [16]byte
		copy(uuid[:], d.Next(len(uuid)))
		if err := d.Finish(); err != nil {
			return dst, err
		}
		m.sessions.SetTable(uuid)
		id, err := m.sessions.Open(at)
		return appendSessionID(dst, id), err
	case sessionCommandCall:
		c := SessionCall{ID: takeSessionID(&d), Seq: d.Uvarint(), Watermark: d.Uvarint(), Hash: d.Uint64()}
		if err := d.Err(); err != nil {
			return dst, err
		}
		return m.sessions.Do(c, at, dst, func(dst []byte) []byte {
			return m.machine.Apply(index, at, d.Rest(), dst)
		})
	case sessionCommandAck:
		id, watermark := takeSessionID(&d), d.Uvarint()
		if err := d.Finish(); err != nil {
			return dst, err
		}
		return dst, m.sessions.Acknowledge(id, watermark, at)
	case sessionCommandClose:
		id := takeSessionID(&d)
		if err := d.Finish(); err != nil {
			return dst, err
		}
		m.sessions.Close(id)
		return dst, nil
	case sessionCommandPlain:
		return m.machine.Apply(index, at, d.Rest(), dst), nil
	case sessionCommandExpire:
		return dst, d.Finish()
	default:
		return dst, ErrMessage
	}
}

func takeSessionID(d *wire.Decoder) (id SessionID) {
	if b := d.Next(sessionIDLen); b != nil {
		_ = id.UnmarshalBinary(b)
	}
	return id
}

// Freeze returns the image of the table and the machine.
func (m *SessionMachine) Freeze() (io.WriterTo, error) {
	machine, err := m.machine.Freeze()
	if err != nil {
		return nil, err
	}
	return &sessionMachineImage{m.sessions.Freeze(), machine}, nil
}

type sessionMachineImage struct{ sessions, machine io.WriterTo }

func (i *sessionMachineImage) WriteTo(w io.Writer) (int64, error) {
	n, err := i.sessions.WriteTo(w)
	if err != nil {
		return n, err
	}
	more, err := i.machine.WriteTo(w)
	return n + more, err
}

// Restore makes the table and the machine those of an image. If it fails, the
// machine is not to be used.
func (m *SessionMachine) Restore(r io.Reader) error {
	if err := m.sessions.Restore(r); err != nil {
		return err
	}
	return m.machine.Restore(r)
}

// Fingerprint names the table's format and limits, and the machine.
func (m *SessionMachine) Fingerprint() string {
	return m.sessions.Fingerprint() + " " + m.machine.Fingerprint()
}
