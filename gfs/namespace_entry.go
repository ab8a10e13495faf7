package gfs

import (
	"encoding/binary"

	"github.com/trilith-go/trilith/internal/wire"
)

// inlineChunks is how many chunks a file may have whose handles are in its entry.
// Those of longer files are in pages beside the namespace: see chunkList.
const inlineChunks = 8

// modeBits are the permission bits that are kept.
const modeBits = 0o777

// An nsEntry is what the namespace has of a file or directory.
type nsEntry struct {
	id       fileID
	mode     uint32 // permission bits
	owner    nameID
	group    nameID
	modified int64 // nanoseconds since 1970
	dir      bool
	policy   bool                 // a directory with a row in metadata.policies
	hidden   bool                 // it was removed: its own name says so, not only one above it
	dying    bool                 // it was removed for good, and is being collected
	expires  int64                // hidden: when it is collected, by the log's time
	goal     uint8                // files: replicas wanted
	length   uint64               // files: the index of the last chunk, plus one
	held     uint64               // files: chunks that are there; fewer than length if there are holes
	handles  [inlineChunks]handle // files with length <= inlineChunks; 0 is a hole
}

// paged reports whether the handles are in pages beside the namespace.
func (e *nsEntry) paged() bool { return e.length > inlineChunks }

// The first byte of an encoded entry.
const (
	entryDir    = 1 << iota
	entryPolicy // directories
	entryHidden // expires follows
	entryDying
	entryGoal                        // files: goal follows; without, it is DefaultReplication
	entryLength                      // files: length follows; without, it is 1
	entryFlags  = entryLength<<1 - 1 // all of them
	entryPaged  = entryPolicy        // files: held follows, and no handle
)

// append appends the encoded entry: some 25 bytes for a file of one chunk.
func (e *nsEntry) append(dst []byte) []byte {
	var flags byte
	set := func(f byte, on bool) {
		if on {
			flags |= f
		}
	}
	set(entryDir, e.dir)
	set(entryPolicy, e.policy)
	set(entryHidden, e.hidden)
	set(entryDying, e.dying)
	if !e.dir {
		set(entryPaged, e.paged())
		set(entryGoal, e.goal != DefaultReplication)
		set(entryLength, e.length != 1)
	}
	dst = append(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.modified))
	dst = binary.AppendUvarint(dst, uint64(e.mode))
	dst = binary.AppendUvarint(dst, uint64(e.owner))
	dst = binary.AppendUvarint(dst, uint64(e.group))
	dst = binary.AppendUvarint(dst, uint64(e.id))
	if e.hidden {
		dst = binary.AppendVarint(dst, e.expires)
	}
	if e.dir {
		return dst
	}
	if e.goal != DefaultReplication {
		dst = append(dst, e.goal)
	}
	if e.length != 1 {
		dst = binary.AppendUvarint(dst, e.length)
	}
	if e.paged() {
		return binary.AppendUvarint(dst, e.held)
	}
	return appendHandles(dst, e.handles[:e.length])
}

// decode reads an entry as append writes it, and refuses everything else.
func (e *nsEntry) decode(src []byte) error {
	*e = nsEntry{}
	if e.decodePlain(src) {
		return nil
	}
	*e = nsEntry{}
	d := wire.NewDecoder(src)
	flags := d.Byte()
	e.dir, e.hidden, e.dying = flags&entryDir != 0, flags&entryHidden != 0, flags&entryDying != 0
	e.policy = e.dir && flags&entryPolicy != 0
	e.modified = int64(d.Uint64())
	e.mode = uint32(d.Int(modeBits))
	e.owner = nameID(d.Int(maxNames))
	e.group = nameID(d.Int(maxNames))
	e.id = fileID(d.Uvarint())
	if e.hidden {
		e.expires = d.Varint()
	}
	if flags&^entryFlags != 0 || e.dying && !e.hidden || e.dir && flags&(entryGoal|entryLength) != 0 {
		d.Fail("flags %#x", flags)
	}
	if !e.dir {
		e.decodeFile(&d, flags)
	}
	return d.Finish()
}

// decodePlain is decode for what most entries are: a file of one chunk, with nothing
// unusual. It reports false for all others, and for all that is wrong.
func (e *nsEntry) decodePlain(src []byte) bool {
	if len(src) < 9 || src[0] != 0 {
		return false
	}
	var fields [5]uint64
	rest := src[9:]
	for i := range fields {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return false
		}
		fields[i], rest = v, rest[n:]
	}
	mode, owner, group, id, h := fields[0], fields[1], fields[2], fields[3], handle(fields[4])
	if len(rest) > 0 || mode > modeBits || owner > maxNames || group > maxNames || h == 0 || h > maxHandle {
		return false
	}
	e.modified = int64(binary.LittleEndian.Uint64(src[1:]))
	e.mode, e.owner, e.group, e.id = uint32(mode), nameID(owner), nameID(group), fileID(id)
	e.goal, e.length, e.held, e.handles[0] = DefaultReplication, 1, 1, h
	return true
}

func (e *nsEntry) decodeFile(d *wire.Decoder, flags byte) {
	e.goal, e.length = DefaultReplication, 1
	if flags&entryGoal != 0 {
		if e.goal = d.Byte(); e.goal == 0 || e.goal > MaxReplication || e.goal == DefaultReplication {
			d.Fail("goal %d", e.goal)
		}
	}
	if flags&entryLength != 0 {
		if e.length = d.Uvarint(); e.length == 1 || e.length > maxFileChunks {
			d.Fail("%d chunks", e.length)
			e.length = 0
		}
	}
	if e.paged() != (flags&entryPaged != 0) {
		d.Fail("%d chunks, flags %#x", e.length, flags)
		return
	}
	if e.paged() {
		if e.held = d.Uvarint(); e.held == 0 || e.held > e.length {
			d.Fail("%d chunks of %d", e.held, e.length)
		}
		return
	}
	list := e.handles[:e.length]
	decodeHandles(d, list)
	for _, h := range list {
		if h != 0 {
			e.held++
		}
	}
	if len(list) > 0 && list[len(list)-1] == 0 {
		d.Fail("a hole at the end")
	}
}

// appendHandles appends handles, each as the difference to the one before: a byte if it
// is the next one.
func appendHandles(dst []byte, list []handle) []byte {
	var last handle
	for i, h := range list {
		if i == 0 {
			dst = binary.AppendUvarint(dst, uint64(h))
		} else {
			dst = binary.AppendVarint(dst, int64(h-last))
		}
		last = h
	}
	return dst
}

// decodeHandles reads as many handles as list has room for.
func decodeHandles(d *wire.Decoder, list []handle) {
	var last handle
	for i := range list {
		if i == 0 {
			list[i] = handle(d.Uvarint())
		} else {
			list[i] = last + handle(d.Varint())
		}
		if last = list[i]; last > maxHandle {
			d.Fail("handle %d", last)
			return
		}
	}
}
