package gfs

import (
	"bytes"
	"strings"
	"time"
)

// In the namespace a path is a key: its slashes are zero bytes, so that keys are in
// the order of a walk through the tree, component by component: a directory, then
// everything below it, then what follows it. The key of the root is empty.

const (
	// hiddenMark, and the time of the removal, follow the name of what was removed
	// (§4.4.1). No user can make such a name.
	hiddenMark = ".deleted."
	// hiddenStamp is the form of that time, in UTC: in the order of time.
	hiddenStamp = "20060102T150405.000000000Z"
	// hiddenTail is the length of both.
	hiddenTail = len(hiddenMark) + len(hiddenStamp)

	// maxKey is the length of the longest key in bytes: longer than a path may be that
	// a user makes, as hidden names are longer, and as directories are moved to longer
	// paths with all they contain.
	maxKey = 4 * MaxPath
)

// appendKey appends the key of a path.
func appendKey(dst []byte, path string) []byte {
	if path == "." {
		return dst
	}
	n := len(dst)
	dst = append(dst, path...)
	for {
		i := bytes.IndexByte(dst[n:], '/')
		if i < 0 {
			return dst
		}
		n += i
		dst[n] = 0
	}
}

// keyPath returns the path of a key.
func keyPath(key []byte) string {
	if len(key) == 0 {
		return "."
	}
	return strings.ReplaceAll(string(key), "\x00", "/")
}

// keyParent returns the key of the directory that a key is in. The root is in itself.
func keyParent(key []byte) []byte { return key[:max(bytes.LastIndexByte(key, 0), 0)] }

// keyName returns the last component.
func keyName(key []byte) []byte { return key[bytes.LastIndexByte(key, 0)+1:] }

// appendBelow appends what the keys of everything below a directory begin with.
func appendBelow(dst, key []byte) []byte {
	dst = append(dst, key...)
	if len(key) > 0 {
		dst = append(dst, 0)
	}
	return dst
}

// appendPast appends the least key that is greater than a key and all keys below it. It
// must not be the root.
func appendPast(dst, key []byte) []byte { return append(append(dst, key...), 1) }

// appendChild appends the key of a name in a directory.
func appendChild(dst, dir []byte, name string) []byte {
	return append(appendBelow(dst, dir), name...)
}

// keyStep returns the key that is one component further down from a directory on the way
// to a key.
func keyStep(key, dir []byte) []byte {
	from := len(dir)
	if from > 0 {
		from++
	}
	if i := bytes.IndexByte(key[from:], 0); i >= 0 {
		return key[:from+i]
	}
	return key
}

// keyWithin reports whether a key is that of a directory or of something below it.
func keyWithin(key, dir []byte) bool {
	return len(dir) == 0 || bytes.HasPrefix(key, dir) && (len(key) == len(dir) || key[len(dir)] == 0)
}

// hiddenName takes the name of something removed apart: what it was called, and when it
// was removed, in nanoseconds since 1970.
func hiddenName(name []byte) (original []byte, removed int64, ok bool) {
	cut := len(name) - hiddenTail
	if cut <= 0 || string(name[cut:cut+len(hiddenMark)]) != hiddenMark {
		return nil, 0, false
	}
	stamp := string(name[cut+len(hiddenMark):])
	t, err := time.Parse(hiddenStamp, stamp)
	if err != nil || t.Format(hiddenStamp) != stamp {
		return nil, 0, false
	}
	if t.Year() < 1970 || t.Year() > 2261 { // those that fit into nanoseconds
		return nil, 0, false
	}
	return name[:cut], t.UnixNano(), true
}

// appendHidden appends the tail of the name of what was removed.
func appendHidden(dst []byte, removed int64) []byte {
	return time.Unix(0, removed).UTC().AppendFormat(append(dst, hiddenMark...), hiddenStamp)
}

// keyHidden reports whether a component of a key is a hidden name.
func keyHidden(key []byte) bool {
	for len(key) > hiddenTail && bytes.Contains(key, []byte(hiddenMark)) {
		name, rest, _ := bytes.Cut(key, []byte{0})
		if _, _, ok := hiddenName(name); ok {
			return true
		}
		key = rest
	}
	return false
}

// checkKey refuses what is not a path, where one of something removed is one.
func checkKey(path string) error {
	if len(path) > maxKey {
		return refuse(outcomeInvalid, path, "a path of %d bytes", len(path))
	}
	for start := 0; ; {
		end := strings.IndexByte(path[start:], '/')
		last := end < 0
		if last {
			end = len(path) - start
		}
		name := path[start : start+end]
		if name == "" || name == ".." || name == "." && path != "." {
			return refuse(outcomeInvalid, path, "not a path: want slash-separated elements, relative to the root, without . and ..")
		}
		if len(name) > MaxName+hiddenTail {
			return refuse(outcomeInvalid, path, "a name of %d bytes; %d are the most", len(name), MaxName)
		}
		if last {
			break
		}
		start += end + 1
	}
	if strings.IndexByte(path, 0) >= 0 {
		return refuse(outcomeInvalid, path, "a zero byte in a path")
	}
	return nil
}

// parseKey appends the key of a path, or refuses it as checkKey does: in one go, as every
// read begins with it. long says whether a name is long enough to be a hidden one.
func parseKey(dst []byte, path string) (key []byte, long bool, err error) {
	if path == "." {
		return dst, false, nil
	}
	n := len(dst)
	dst = append(dst, path...)
	key, start := dst[n:], 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if key[i] == 0 {
				return nil, false, checkKey(path)
			}
			continue
		}
		size := i - start
		if size <= 2 && strings.Trim(path[start:i], ".") == "" || size > MaxName+hiddenTail {
			return nil, false, checkKey(path)
		}
		long = long || size > hiddenTail
		if i < len(key) {
			key[i] = 0
		}
		start = i + 1
	}
	if len(path) > maxKey {
		return nil, false, checkKey(path)
	}
	return dst, long, nil
}

// checkNew refuses a path that users may not make.
func checkNew(path string) error {
	if err := checkPath(path); err != nil {
		return refuse(outcomeInvalid, path, "%s", strings.TrimPrefix(err.Error(), "invalid argument: "))
	}
	var buf [256]byte
	if keyHidden(appendKey(buf[:0], path)) {
		return refuse(outcomeInvalid, path, "the form name%s<time> is that of what has been removed", hiddenMark)
	}
	return nil
}
