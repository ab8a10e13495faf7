package rv64

import (
	"encoding/binary"
	"fmt"

	"github.com/trilith-go/trilith/internal/wire"
)

// A DiskRequest is something that a machine wants done on its shared disk: what an
// OutputDisk carries. It names its bytes by object and offset, so doing it again, after
// those before it and before those after it, changes nothing. It is answered by a
// [DiskDoneEvent]; a DiskAttach is, if it succeeds, by [DiskCatalogEvent].
//
// Requests are done as if one after the other, in their order. Those that have no byte in
// common may be done at once, with these exceptions: a DiskSync is done when all before it
// are, and durable; a DiskRoot or DiskRemove takes effect only when all before it are
// durable.
//
// A request may be answered when it has been done. It must be kept until it is durable,
// and done again should the disk, or whoever does it, lose it before: so the bytes of a
// write survive whatever the machine survives. If that fails although it was answered, a
// second answer says so, and the next fsync of the file tells the program.
type DiskRequest struct {
	ID     uint64 // counts the requests of a machine from 1
	Kind   DiskRequestKind
	Object uint64
	Offset int64
	// Generation is the machine's, 0 until it has been attached.
	Generation uint64
	Length     int    // of a DiskRead
	Data       []byte // of a DiskWrite or DiskRecord
}

// A DiskRequestKind says what is to be done.
type DiskRequestKind uint8

// What is done on a shared disk.
const (
	// DiskAttach wants the catalog that the last DiskRoot has named, as long as it is, and
	// a generation, which is greater than all that were given out before.
	DiskAttach   DiskRequestKind = iota + 1
	DiskRead                     // Length bytes from Offset on; what was never written is zero
	DiskWrite                    // Data at Offset
	DiskTruncate                 // what is beyond Offset is zero from now on
	DiskRemove                   // the object is not needed any more, and its number will not come again
	DiskSync                     // everything before is to be durable
	DiskRoot                     // Object is the catalog from now on
	DiskRecord                   // a DiskWrite to the catalog: it may use what is kept in reserve for that
)

func (k DiskRequestKind) String() string {
	names := [...]string{DiskAttach: "attach", DiskRead: "read", DiskWrite: "write", DiskTruncate: "truncate", DiskRemove: "remove", DiskSync: "sync", DiskRoot: "root", DiskRecord: "record"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprint("kind ", uint8(k))
}

// maxDiskTransfer is the most bytes of one request.
const maxDiskTransfer = maxTransfer

// Append appends the request to b as [ParseDiskRequest] reads it.
func (r *DiskRequest) Append(b []byte) []byte {
	b = append(b, byte(r.Kind))
	b = binary.AppendUvarint(b, r.ID)
	b = binary.AppendUvarint(b, r.Object)
	b = binary.AppendUvarint(b, uint64(r.Offset))
	b = binary.AppendUvarint(b, r.Generation)
	b = binary.AppendUvarint(b, uint64(r.Length))
	return append(b, r.Data...)
}

// ParseDiskRequest reads the Data of an OutputDisk. The request's Data is borrowed from b.
func ParseDiskRequest(b []byte) (DiskRequest, error) {
	d := wire.NewDecoder(b)
	r := DiskRequest{Kind: DiskRequestKind(d.Byte()), ID: d.Uvarint(), Object: d.Uvarint()}
	r.Offset, r.Generation, r.Length = int64(d.Uvarint()), d.Uvarint(), d.Int(maxDiskTransfer)
	r.Data = d.Rest()
	if d.Err() == nil && (r.Kind == 0 || r.Kind > DiskRecord || r.Offset < 0 || len(r.Data) > maxDiskTransfer) {
		d.Fail("a request of kind %d at %d", r.Kind, r.Offset)
	}
	if err := d.Err(); err != nil {
		return DiskRequest{}, fmt.Errorf("rv64: reading a request to the disk: %w", err)
	}
	return r, nil
}

// DiskDoneEvent answers a request: errno is 0, or why it was not done, as Linux numbers
// it; data is what a DiskRead has read.
func DiskDoneEvent(r *DiskRequest, errno int, data []byte) []byte {
	e := binary.AppendUvarint([]byte{eventDiskDone}, r.ID)
	e = binary.AppendUvarint(e, r.Object)
	e = binary.AppendUvarint(e, uint64(errno))
	return append(e, data...)
}

// MaxCatalogPart is the most of a catalog that one event has, in bytes.
const MaxCatalogPart = 1 << 20

// DiskCatalogEvent answers the DiskAttach with an id: it gives the machine a part of its
// catalog, the content of object, from offset on, of MaxCatalogPart bytes at most; the last
// one lets the program begin. A disk without a catalog has one part, without bytes, of the
// object 0. [CheckCatalog] tells beforehand whether the machine can read it. If the parts
// come anew from 0 on, as after a fail-over, those before do not count.
func DiskCatalogEvent(id, generation, object uint64, offset int, part []byte, last bool) []byte {
	e := binary.AppendUvarint([]byte{eventDiskCatalog}, id)
	e = binary.AppendUvarint(e, generation)
	e = binary.AppendUvarint(e, object)
	e = binary.AppendUvarint(e, uint64(offset))
	e = wire.AppendBool(e, last)
	return append(e, part...)
}

// maxGeneration bounds generations, for they are part of the numbers of objects.
const maxGeneration = 1 << 31

// diskEvent is what a shared disk says.
func (k *kernel) diskEvent(kind byte, d *wire.Decoder) error {
	m := &k.mount
	id := d.Uvarint()
	if kind == eventDiskDone {
		object, errno := d.Uvarint(), d.Uvarint()
		data := d.Rest()
		if err := d.Err(); err != nil {
			return err
		}
		if errno > 4095 || len(data) > maxDiskTransfer || id > m.requests {
			return fmt.Errorf("an answer to request %d of %d with errno %d", id, m.requests, errno)
		}
		k.diskDone(id, object, int64(errno), data)
		return nil
	}
	generation, object, offset, last := d.Uvarint(), d.Uvarint(), d.Uvarint(), d.Bool()
	part := d.Rest()
	if err := d.Err(); err != nil {
		return err
	}
	switch {
	case m.attaching == 0 || id != m.attaching:
		return nil // it has one
	case generation == 0 || generation >= maxGeneration || len(part) > MaxCatalogPart:
		return fmt.Errorf("a catalog of generation %d in parts of %d bytes", generation, len(part))
	case offset != 0 && offset != uint64(len(m.incoming)):
		return fmt.Errorf("a part of the catalog at %d follows %d", offset, len(m.incoming))
	}
	whole := append(m.incoming[:offset:offset], part...)
	if last {
		c, err := readCatalog(whole)
		if err != nil {
			return err
		}
		m.generation, m.previous = generation, object
		k.attach(c)
		return nil
	}
	m.incoming = whole
	return nil
}
