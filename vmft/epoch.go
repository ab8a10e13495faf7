package vmft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/trilith-go/trilith/internal/wire"
)

// An ID is a random number that names one thing for ever: an incarnation, a journal, a
// stream. The zero ID names nothing.
type ID uint64

// String returns the number in hexadecimal.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalText implements encoding.TextMarshaler: in JSON an ID is what String returns, as
// many readers have no numbers of 64 bits, and the zero ID is an empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	*id = 0
	if len(text) == 0 {
		return nil
	}
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("an id: %w", err)
	}
	*id = ID(n)
	return nil
}

// A Member is a process that holds a copy of the machine.
type Member struct {
	// Addr is where its peers and clients reach it.
	Addr string
	// Incarnation tells it from every other process at that address, and from itself
	// before it became a clone.
	Incarnation ID
	// Log is its journal. Everything that the member has ever acknowledged or released is
	// in that, synced. 0: it has none.
	Log ID
}

// IsZero reports whether m is nobody.
func (m Member) IsZero() bool { return m.Incarnation == 0 }

// String returns the address and the incarnation.
func (m Member) String() string {
	if m.IsZero() {
		return "nobody"
	}
	return m.Addr + "/" + m.Incarnation.String()[:6]
}

// A Record is a link of the chain of epochs: who runs the machine in one epoch.
type Record struct {
	// Epoch counts from 1.
	Epoch uint64
	// Primary is whose outputs leave.
	Primary Member
	// Backup is who must have acknowledged them. Zero: nobody, the primary is alone.
	Backup Member
}

// String describes the record in one line.
func (r Record) String() string {
	if r.Epoch == 0 {
		return "no epoch"
	}
	return fmt.Sprintf("epoch %d: primary %v, backup %v", r.Epoch, r.Primary, r.Backup)
}

// names reports whether an incarnation is a member of the epoch.
func (r Record) names(m Member) bool {
	return !m.IsZero() && (r.Primary.Incarnation == m.Incarnation || r.Backup.Incarnation == m.Incarnation)
}

// entitles reports whether m may write the record that follows: it is a member, or it
// has the journal of one. (An epoch 0, before there is a chain, entitles everybody.)
func (r Record) entitles(m Member) bool {
	if r.Epoch == 0 || r.names(m) {
		return true
	}
	return m.Log != 0 && (r.Primary.Log == m.Log || r.Backup.Log == m.Log)
}

// alone returns the record that follows r and names m alone.
func (r Record) alone(m Member) Record { return Record{Epoch: r.Epoch + 1, Primary: m} }

// follows checks that r can stand in the chain after before, whoever wrote it.
func (r Record) follows(before Record) error {
	switch {
	case r.Epoch != before.Epoch+1:
		return fmt.Errorf("epoch %d does not follow %d", r.Epoch, before.Epoch)
	case r.Primary.IsZero():
		return errors.New("a record without a primary")
	case r.Primary.Incarnation == r.Backup.Incarnation:
		return errors.New("a primary that is its own backup")
	case !r.Backup.IsZero() && r.Primary != before.Primary && r.Backup != before.Primary:
		// Only the primary can know that a newcomer has everything, whether it goes on or
		// makes that one the primary.
		return errors.New("a backup that was taken in by another than the primary")
	}
	return nil
}

// A chainStep is what a core wants of the arbiter next.
type chainStep struct {
	read  bool   // the newest record
	claim Record // that this be written; zero: nothing
}

func (s chainStep) none() bool { return !s.read && s.claim.Epoch == 0 }

// maxAddr bounds the addresses of members, in bytes.
const maxAddr = 255

// AppendBinary implements encoding.BinaryAppender.
func (r *Record) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.AppendUvarint(dst, r.Epoch)
	for _, m := range []*Member{&r.Primary, &r.Backup} {
		dst = m.append(dst)
	}
	return dst, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (r *Record) UnmarshalBinary(b []byte) error {
	d := wire.NewDecoder(b)
	*r = takeRecord(&d)
	return d.Finish()
}

func (m *Member) append(dst []byte) []byte {
	dst = wire.AppendString(dst, m.Addr)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Incarnation))
	return binary.LittleEndian.AppendUint64(dst, uint64(m.Log))
}

func takeRecord(d *wire.Decoder) Record {
	r := Record{Epoch: d.Uvarint()}
	r.Primary, r.Backup = takeMember(d), takeMember(d)
	return r
}

func takeMember(d *wire.Decoder) Member {
	m := Member{Addr: d.String(), Incarnation: ID(d.Uint64()), Log: ID(d.Uint64())}
	if len(m.Addr) > maxAddr {
		d.Fail("an address of %d bytes", len(m.Addr))
	}
	return m
}
