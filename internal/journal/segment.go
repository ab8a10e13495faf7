package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/trilith-go/trilith/internal/vfs"
)

const (
	lockName         = "LOCK"
	segmentPrefix    = "log-"
	checkpointPrefix = "checkpoint-"
	temporarySuffix  = ".tmp"
)

// segment is a file of the log.
type segment struct {
	first uint64 // its first record
	path  string
	end   int64 // where what is safe of it ends
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x", segmentPrefix, first))
}

func checkpointPath(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%016x", checkpointPrefix, sequence))
}

// listing is what a directory holds.
type listing struct {
	segments    []segment // the oldest first
	checkpoints []image   // the oldest first
	temporary   []string  // paths
}

// list reads a directory. Files that are not a journal's are passed over.
func list(fsys vfs.FS, dir string) (listing, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return listing{}, err
	}
	var l listing
	for _, entry := range entries { // sorted by name, and so by sequence number
		name := entry.Name()
		path := filepath.Join(dir, name)
		kind := segmentPrefix
		if strings.HasPrefix(name, checkpointPrefix) {
			kind = checkpointPrefix
		}
		digits, ok := strings.CutPrefix(name, kind)
		if !ok {
			continue
		}
		digits, temporary := strings.CutSuffix(digits, temporarySuffix)
		sequence, err := strconv.ParseUint(digits, 16, 64)
		switch {
		case err != nil || len(digits) != 16:
		case temporary:
			l.temporary = append(l.temporary, path)
		case kind == segmentPrefix:
			l.segments = append(l.segments, segment{first: sequence, path: path})
		default:
			l.checkpoints = append(l.checkpoints, image{sequence: sequence, path: path})
		}
	}
	return l, nil
}

// roll ends the segment that is being written and begins one with the record
// first. j.writing is held.
func (j *Journal) roll(first uint64) error {
	// A mark may have been written since the last sync, and only the last segment
	// may have a torn tail, or anything else behind its records.
	if !j.cfg.planted.untrimmed {
		if err := j.tail.trim(); err != nil {
			return err
		}
	}
	if j.tail.dirty && !j.cfg.planted.ackBeforeSync {
		if err := j.tail.sync(); err != nil {
			return err
		}
	}
	old := j.tail.file
	if err := j.newSegment(first); err != nil {
		return err
	}
	_ = old.Close() // all that counts has been synced
	return nil
}

// newSegment makes a segment and points j.tail to it. j.writing is held, or the
// journal not shared yet.
func (j *Journal) newSegment(first uint64) error {
	path := segmentPath(j.cfg.Dir, first)
	header := fileHeader{magic: segmentMagic, id: j.id, sequence: first}
	if err := j.writeHeader(path+temporarySuffix, header); err != nil {
		return err
	}
	if err := j.cfg.FS.Rename(path+temporarySuffix, path); err != nil {
		return err
	}
	if err := j.syncDir(); err != nil {
		return err
	}
	f, err := j.cfg.FS.OpenFile(path, os.O_RDWR)
	if err != nil {
		return err
	}
	j.tail = tail{file: f, path: path, size: fileHeaderSize, ahead: fileHeaderSize, marked: first - 1}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = append(j.segments, segment{first: first, path: path, end: fileHeaderSize})
	return nil
}

// writeHeader makes a file that holds a header, synced. It is closed before it is
// renamed, since Windows renames no file that is open.
func (j *Journal) writeHeader(path string, header fileHeader) error {
	f, err := vfs.Create(j.cfg.FS, path)
	if err != nil {
		return err
	}
	t := tail{file: f, path: path}
	if err = t.write(header.encode(), fileHeaderSize); err == nil {
		err = t.sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (j *Journal) syncDir() error {
	if j.cfg.planted.noDirSync {
		return nil
	}
	return j.cfg.FS.SyncDir(j.cfg.Dir)
}

// prune removes what is only needed to start from before the checkpoint keep: from
// the oldest on, one after the other, so that whatever a crash leaves is without a
// gap. What can't be removed is told to the operator, ends it, and is removed the
// next time. The error is that of the directory's sync. j.imaging is held.
func (j *Journal) prune(keep uint64) error {
	for {
		path, gone := j.oldest(keep)
		if path == "" {
			return nil
		}
		if err := j.cfg.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.cfg.Logger.Warn("a file that is no longer needed could not be removed", "path", path, "error", err)
			return nil
		}
		if err := j.syncDir(); err != nil {
			return err
		}
		gone()
	}
}

// oldest returns a file that is not needed any more, and what to call when it is
// gone; or "" if there is none.
func (j *Journal) oldest(keep uint64) (path string, gone func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case len(j.broken) > 0:
		return j.broken[0], func() { forget(j, &j.broken) }
	case len(j.images) > 0 && j.images[0].sequence < keep:
		return j.images[0].path, func() { forget(j, &j.images) }
	case len(j.segments) > 1 && j.segments[1].first <= keep+1:
		return j.segments[0].path, func() { forget(j, &j.segments) }
	}
	return "", nil
}

// forget drops the first of one of the lists of files.
func forget[T any](j *Journal, files *[]T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	*files = slices.Delete(*files, 0, 1)
}
