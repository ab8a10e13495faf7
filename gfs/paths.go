package gfs

import (
	"fmt"
	"io/fs"
	"strings"
)

// checkPath refuses what is not a path: slash-separated, relative to the root, which
// is ".", as fs.ValidPath has it, and within the bounds.
func checkPath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("%w: a path of %d bytes; %d are the most", fs.ErrInvalid, len(p), MaxPath)
	}
	if !fs.ValidPath(p) || strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("%w: %q is not a path: want slash-separated elements, relative to the root, without . and ..", fs.ErrInvalid, p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > MaxName {
			return fmt.Errorf("%w: a name of %d bytes; %d are the most", fs.ErrInvalid, len(name), MaxName)
		}
	}
	return nil
}
