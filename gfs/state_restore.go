package gfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// An imageReader makes metadata of an image. It trusts nothing that is in it: what it
// accepts has all the invariants of metadata.
type imageReader struct {
	r     io.Reader
	m     *metadata
	seed  [2]uint64
	body  []byte
	wants [imageEnd + 1]int // records that are still to come

	handle  handle // the last one
	lists   btbuilder
	entries btbuilder
	key     []byte        // the last one
	again   []byte        // scratch
	way     []restoreStep // the directories down to it
	down    []byte        // the key of the last of them
	expiry  [][]byte
	claimed map[fileID]bool // directories with a policy, files with pages of handles
	pages   int             // of those files
	ids     []fileID        // of all entries
}

// A restoreStep is a directory on the way down to an entry.
type restoreStep struct {
	end    int // of its key
	row    *policyRow
	hidden bool // it, or one above it
}

// restoreMetadata reads an image, and nothing may follow it.
func restoreMetadata(r io.Reader, seed [2]uint64) (*metadata, error) {
	m := newMetadata(seed)
	m.ns, m.names, m.policies, m.root = newNamespace(seed), nameTable{}, make(map[fileID]*policyRow), nil
	in := &imageReader{r: r, m: m, seed: seed, claimed: make(map[fileID]bool)}
	if err := in.all(); err != nil {
		return nil, fmt.Errorf("image of the metadata: %w", err)
	}
	return m, nil
}

func (in *imageReader) all() error {
	in.wants[imageHead] = 1
	for section := byte(imageHead); section != imageEnd; {
		d, got, n, err := in.frame()
		if err != nil {
			return err
		}
		if err := in.advance(&section, got); err != nil {
			return err
		}
		if n > in.wants[section] {
			return fmt.Errorf("%w: section %d has more records than announced", wire.ErrCorrupt, section)
		}
		in.wants[section] -= n
		for first := true; n > 0 && d.Err() == nil; n, first = n-1, false {
			in.record(section, &d, first)
		}
		if err := d.Finish(); err != nil {
			return fmt.Errorf("section %d: %w", section, err)
		}
	}
	var one [1]byte
	if _, err := io.ReadFull(in.r, one[:]); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the end: %v", wire.ErrCorrupt, err)
	}
	return in.finish()
}

// advance goes on to the section of the frame that has been read: none that lies
// between may lack records.
func (in *imageReader) advance(section *byte, got byte) error {
	for *section < got && *section < imageEnd && in.wants[*section] == 0 {
		if *section == imageLists {
			in.m.lists.tree = in.lists.finish()
		}
		*section++
		if *section == imageEnd {
			in.wants[imageEnd] = 1
		}
	}
	if *section != got {
		return fmt.Errorf("%w: a frame of section %d in section %d", wire.ErrCorrupt, got, *section)
	}
	return nil
}

// frame reads the next frame.
func (in *imageReader) frame() (d wire.Decoder, section byte, n int, err error) {
	var head [8]byte
	if _, err := io.ReadFull(in.r, head[:]); err != nil {
		return d, 0, 0, fmt.Errorf("it is cut off: %w", noEOF(err))
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > imageFrameMax+16 {
		return d, 0, 0, fmt.Errorf("%w: a frame of %d bytes", wire.ErrCorrupt, size)
	}
	if cap(in.body) < int(size) {
		in.body = make([]byte, size)
	}
	in.body = in.body[:size]
	if _, err := io.ReadFull(in.r, in.body); err != nil {
		return d, 0, 0, fmt.Errorf("it is cut off: %w", noEOF(err))
	}
	if crc32.Checksum(in.body, imageTable) != binary.LittleEndian.Uint32(head[4:]) {
		return d, 0, 0, fmt.Errorf("%w: the checksum of a frame does not match", wire.ErrCorrupt)
	}
	d = wire.NewDecoder(in.body)
	section = d.Byte()
	n = d.Int(imageFrameMax)
	if d.Err() == nil && n == 0 {
		d.Fail("a frame without records")
	}
	return d, section, n, d.Err()
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (in *imageReader) record(section byte, d *wire.Decoder, first bool) {
	switch section {
	case imageHead:
		in.head(d)
	case imageNames:
		in.name(d)
	case imageServers:
		in.server(d)
	case imagePolicies:
		in.policy(d)
	case imageChunks:
		in.chunk(d, first)
	case imageLists:
		in.list(d, first)
	case imageEntries:
		in.entry(d, first)
	}
}

func (in *imageReader) head(d *wire.Decoder) {
	if format := d.String(); d.Err() == nil && format != metadataFormat {
		d.Fail("format %.40q, want %q", format, metadataFormat)
	}
	m := in.m
	m.epoch, m.chunkSize = d.Uvarint(), int64(d.Int(MaxChunkSize))
	m.nextFile, m.nextHandle = fileID(d.Uvarint()), handle(d.Uvarint())
	if m.nextHandle == 0 || m.nextHandle > maxHandle || m.nextFile <= rootID {
		d.Fail("next file %d, next handle %d", m.nextFile, m.nextHandle)
	}
	const most = 1 << 48
	in.wants[imageNames] = d.Int(maxNames)
	in.wants[imageServers] = d.Int(maxServers)
	in.wants[imagePolicies] = d.Int(maxPolicies)
	in.wants[imageChunks] = d.Int(most)
	in.wants[imageLists] = d.Int(most)
	in.wants[imageEntries] = d.Int(most)
}

func (in *imageReader) name(d *wire.Decoder) {
	t := &in.m.names
	name := d.String()
	if name != freeName {
		if !validName(name) {
			d.Fail("the name %.40q", name)
		}
		if _, twice := t.ids[name]; twice {
			d.Fail("the name %.40q twice", name)
			return
		}
		if t.ids == nil {
			t.ids = make(map[string]nameID)
		}
		t.ids[name] = nameID(len(t.names))
	}
	t.names, t.uses, t.own = append(t.names, name), append(t.uses, 0), true
}

func (in *imageReader) server(d *wire.Decoder) {
	s := serverRow{}
	copy(s.uuid[:], d.Next(len(s.uuid)))
	s.id = serverID(len(in.m.servers) + 1)
	s.addr, s.rack, s.zone, s.draining, s.forgotten = d.String(), d.String(), d.String(), d.Bool(), d.Bool()
	in.m.servers = append(in.m.servers, s)
}

func (in *imageReader) policy(d *wire.Decoder) {
	id := fileID(d.Uvarint())
	p := policy{goal: d.Byte(), retention: time.Duration(d.Varint()), maxFiles: d.Uvarint(), maxChunks: d.Uvarint()}
	if p.goal > MaxReplication {
		d.Fail("a goal of %d", p.goal)
	}
	if in.m.policies[id] != nil {
		d.Fail("two policies of %d", id)
	}
	in.m.policies[id] = &policyRow{policy: p}
}

// chunk reads a chunk. As long as no file has it, its references are wrong: one too many,
// so that it is there.
func (in *imageReader) chunk(d *wire.Decoder, first bool) {
	h := handle(d.Uvarint())
	if !first {
		h += in.handle
	}
	row := chunkRow{version: version(d.Uvarint()), refs: 1, goal: d.Byte()}
	if h <= in.handle || h >= in.m.nextHandle || row.goal > MaxReplication || row.goal == 0 {
		d.Fail("chunk %d after %d, of goal %d", h, in.handle, row.goal)
		return
	}
	in.handle = h
	in.m.chunks.set(h, row)
}

// pair reads a key, compressed against the one before, and a value.
func (in *imageReader) pair(d *wire.Decoder, first bool, last []byte) (key, value []byte) {
	shared := d.Int(len(last))
	suffix, value := d.Bytes(), d.Bytes()
	if first && shared != 0 || len(value) > leafLargest-maxKey || shared+len(suffix) > maxKey {
		d.Fail("an entry of %d and %d bytes", shared+len(suffix), len(value))
		return nil, nil
	}
	return append(last[:shared], suffix...), value
}

func (in *imageReader) list(d *wire.Decoder, first bool) {
	key, value := in.pair(d, first, in.key)
	if d.Err() != nil {
		return
	}
	in.key = key
	var page handlePage
	if len(key) != 12 || page.decode(value) != nil || !bytes.Equal(page.append(in.again[:0]), value) || !in.lists.add(key, value) {
		d.Fail("a page of handles")
	}
}

// entry reads an entry of the namespace.
func (in *imageReader) entry(d *wire.Decoder, first bool) {
	last := in.key
	if in.entries.count == 0 {
		last = last[:0]
	}
	key, value := in.pair(d, first, last)
	if d.Err() != nil {
		return
	}
	in.key = key
	var e nsEntry
	if err := e.decode(value); err != nil {
		d.Fail("%v", err)
		return
	}
	if in.again = e.append(in.again[:0]); !bytes.Equal(in.again, value) {
		d.Fail("an entry in a form that is not ours")
		return
	}
	if !in.entries.add(key, value) {
		d.Fail("entries out of order")
		return
	}
	if why := in.descend(key, &e); why != "" {
		d.Fail("%.100q: %s", key, why)
		return
	}
	if why := in.account(key, &e); why != "" {
		d.Fail("%.100q: %s", key, why)
	}
}

// descend finds the directory that an entry is in, and counts it in all above.
func (in *imageReader) descend(key []byte, e *nsEntry) string {
	if in.entries.count == 1 {
		if len(key) > 0 || !e.dir || e.id != rootID || !e.policy || e.hidden {
			return "not the root"
		}
		in.m.root = in.m.policies[rootID]
		if in.m.root == nil {
			return "no policy"
		}
		in.claimed[rootID] = true
		in.way = append(in.way, restoreStep{0, in.m.root, false})
		in.m.ns.index(key, e)
		return ""
	}
	if err := checkKey(keyPath(key)); err != nil || bytes.IndexByte(key, '/') >= 0 || string(key) == "." {
		return "not a path"
	}
	parent := keyParent(key)
	for len(in.way) > 1 && !keyWithin(parent, in.down[:in.way[len(in.way)-1].end]) {
		in.way = in.way[:len(in.way)-1]
	}
	above := in.way[len(in.way)-1]
	if above.end != len(parent) {
		return "it is in no directory"
	}
	for _, s := range in.way {
		if s.row != nil {
			s.row.count(e)
		}
	}
	_, _, is := hiddenName(keyName(key))
	if is != e.hidden {
		return "it is hidden, or its name is"
	}
	if !e.dir {
		return ""
	}
	s := restoreStep{end: len(key), hidden: above.hidden || is}
	if e.policy {
		row := in.m.policies[e.id]
		if row == nil || in.claimed[e.id] {
			return "no policy"
		}
		in.claimed[e.id] = true
		if in.m.counted(row) {
			s.row = row
		}
	}
	in.way = append(in.way, s)
	in.down = append(in.down[:0], key...)
	in.m.ns.index(key, e)
	return ""
}

// count counts one more below the directory.
func (r *policyRow) count(e *nsEntry) {
	if e.dir {
		r.dirs++
		return
	}
	r.files++
	r.chunks += e.held
}

// account counts what an entry uses.
func (in *imageReader) account(key []byte, e *nsEntry) string {
	m := in.m
	if e.id == 0 || e.id >= m.nextFile || (e.id == rootID) != (len(key) == 0) {
		return "its id was never issued"
	}
	in.ids = append(in.ids, e.id)
	for _, id := range []nameID{e.owner, e.group} {
		if int(id) >= len(m.names.names) || m.names.names[id] == freeName {
			return "nobody owns it"
		}
		m.names.uses[id]++
	}
	if e.hidden {
		in.expiry = append(in.expiry, appendExpiry(nil, e.expires, key))
	}
	if e.paged() {
		if in.claimed[e.id] {
			return "two files of one id"
		}
		in.claimed[e.id] = true
		m.lists.pages(e.id, func(uint64, []byte) { in.pages++ })
	}
	hidden := e.hidden || in.way[len(in.way)-1].hidden
	held, length, why := uint64(0), uint64(0), ""
	m.eachHandle(e, 0, func(index uint64, h handle) bool {
		row, ok := m.chunks.get(h)
		if !ok || row.goal < e.goal && !hidden {
			why = "a chunk that is not there, or has too low a goal"
			return false
		}
		held, length = held+1, index+1
		row.refs++
		if !hidden {
			row.live++
		}
		m.chunks.set(h, row)
		return true
	})
	if why == "" && (held != e.held || length != e.length) {
		return "its chunks are not those that it says it has"
	}
	return why
}

// finish puts together what has been read.
func (in *imageReader) finish() error {
	m := in.m
	m.ns.tree = in.entries.finish()
	m.ns.tree.reindex(in.seed)
	if m.root == nil {
		return fmt.Errorf("%w: there is no root", wire.ErrCorrupt)
	}
	slices.Sort(in.ids)
	for i := 1; i < len(in.ids); i++ {
		if in.ids[i] == in.ids[i-1] {
			return fmt.Errorf("%w: two files of id %d", wire.ErrCorrupt, in.ids[i])
		}
	}
	if in.pages != m.lists.tree.count {
		return fmt.Errorf("%w: %d pages of handles, files have %d", wire.ErrCorrupt, m.lists.tree.count, in.pages)
	}
	for id := range m.policies { // order-free: any will do
		if !in.claimed[id] {
			return fmt.Errorf("%w: a policy of no directory", wire.ErrCorrupt)
		}
	}
	for id, uses := range m.names.uses {
		if (uses == 0) != (m.names.names[id] == freeName) {
			return fmt.Errorf("%w: the name %.40q is used %d times", wire.ErrCorrupt, m.names.names[id], uses)
		}
	}
	for h, ok := m.chunks.after(0); ok; h, ok = m.chunks.after(h) {
		row, _ := m.chunks.get(h)
		if row.refs--; row.refs == 0 { // see chunk
			return fmt.Errorf("%w: no file has chunk %d", wire.ErrCorrupt, h)
		}
		m.chunks.set(h, row)
	}
	slices.SortFunc(in.expiry, bytes.Compare)
	var expiry btbuilder
	for _, key := range in.expiry {
		if !expiry.add(key, nil) {
			return fmt.Errorf("%w: two of one name", wire.ErrCorrupt)
		}
	}
	m.expiry = expiry.finish()
	return nil
}
