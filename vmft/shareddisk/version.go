package shareddisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"strconv"
	"strings"
)

// A version says who has written something: the machine of a generation, while its primary
// was that of an epoch. Epochs begin anew with each chain of them; generations never do.
type version struct{ generation, epoch uint64 }

func (v version) less(w version) bool {
	return v.generation < w.generation || v.generation == w.generation && v.epoch < w.epoch
}

func (v version) isZero() bool { return v == version{} }

func (v version) String() string { return fmt.Sprintf("%x.%x", v.generation, v.epoch) }

// parseVersion reads what String has written.
func parseVersion(s string) (v version, ok bool) {
	a, b, found := strings.Cut(s, ".")
	g, err1 := strconv.ParseUint(a, 16, 64)
	e, err2 := strconv.ParseUint(b, 16, 64)
	v = version{g, e}
	return v, found && err1 == nil && err2 == nil && v.String() == s
}

// Names of files: of the content of objects, in chunks, one file for each version of one;
// of terms; and of roots, of which a term may write several.

const (
	headerName  = "disk"
	reserveName = "reserve"
	termDir     = "terms"
	rootDir     = "roots"
	objectDir   = "objects"
	unfinished  = ".new" // the end of the name of a file that is being written
)

// chunkName is the name of a version of a chunk, in the directory of its object.
func chunkName(index int64, v version) string { return strconv.FormatInt(index, 16) + "." + v.String() }

func parseChunkName(s string) (index int64, v version, ok bool) {
	a, b, _ := strings.Cut(s, ".")
	index, err := strconv.ParseInt(a, 16, 64)
	v, ok = parseVersion(b)
	return index, v, ok && err == nil && index >= 0 && chunkName(index, v) == s
}

// newest returns the version of each chunk that counts, of the names in the directory of an
// object, and the names of those that do not. Versions above the limit are not there, for
// whoever is asking; zero is no limit.
func newest(names []string, limit version) (chunks map[int64]version, old []string) {
	chunks = make(map[int64]version)
	for _, name := range names {
		index, v, ok := parseChunkName(name)
		if !ok || !limit.isZero() && limit.less(v) {
			continue
		}
		have, found := chunks[index]
		switch {
		case !found:
			chunks[index] = v
		case have.less(v):
			chunks[index] = v
			old = append(old, chunkName(index, have))
		default:
			old = append(old, name)
		}
	}
	return chunks, old
}

// rootName is the name of the nth root that a term has written.
func rootName(v version, n uint64) string { return v.String() + "." + strconv.FormatUint(n, 16) }

// parseRootName reads what rootName has written.
func parseRootName(s string) (v version, n uint64, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return v, 0, false
	}
	v, ok = parseVersion(s[:i])
	n, err := strconv.ParseUint(s[i+1:], 16, 64)
	return v, n, ok && err == nil && rootName(v, n) == s
}

// lastRoot returns the name of the root that counts, and the names of the others.
func lastRoot(names []string) (last string, old []string) {
	var v version
	var n uint64
	for _, name := range names {
		w, m, ok := parseRootName(name)
		switch {
		case !ok:
		case last == "" || v.less(w) || v == w && n < m:
			if last != "" {
				old = append(old, last)
			}
			last, v, n = name, w, m
		default:
			old = append(old, name)
		}
	}
	return last, old
}

// What is in the header and in roots.

const headerText = "trilith shared disk 1\n"

var table = crc64.MakeTable(crc64.ECMA)

func appendRoot(b []byte, object uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, object)
	return binary.LittleEndian.AppendUint64(b, crc64.Checksum(b, table))
}

var errRoot = errors.New("the file that names the catalog is damaged")

func parseRoot(b []byte) (object uint64, err error) {
	if len(b) != 16 || binary.LittleEndian.Uint64(b[8:]) != crc64.Checksum(b[:8], table) {
		return 0, errRoot
	}
	return binary.LittleEndian.Uint64(b), nil
}
