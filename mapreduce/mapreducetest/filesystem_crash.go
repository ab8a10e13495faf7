package mapreducetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/trilith-go/trilith/mapreduce"
)

// A CrashCase is a promise of a mapreduce.FileSystem about a power failure.
type CrashCase struct {
	Name string
	// Before runs on a file system that is empty, and After on what a crash leaves of
	// it. An error of After is a promise that was not kept.
	Before, After func(ctx context.Context, fsys mapreduce.FileSystem) error
}

// CrashCases returns the cases that TestFileSystem adds if it can crash.
func CrashCases() []CrashCase {
	write := func(ctx context.Context, fsys mapreduce.FileSystem) error {
		return put(ctx, fsys, "dir/sub/f", "content")
	}
	return []CrashCase{
		{"CloseIsDurable", write, func(ctx context.Context, fsys mapreduce.FileSystem) error {
			return holds(ctx, fsys, "dir/sub/f", "content")
		}},
		{"CommitIsDurable", func(ctx context.Context, fsys mapreduce.FileSystem) error {
			return first(write(ctx, fsys), fsys.Commit(ctx, "dir/sub/f", "other/final"))
		}, func(ctx context.Context, fsys mapreduce.FileSystem) error {
			return holds(ctx, fsys, "other/final", "content")
		}},
		{"CommitCanBeRepeated", func(ctx context.Context, fsys mapreduce.FileSystem) error {
			return first(write(ctx, fsys), fsys.Commit(ctx, "dir/sub/f", "dir/sub/final"))
		}, func(ctx context.Context, fsys mapreduce.FileSystem) error {
			if err := fsys.Commit(ctx, "dir/sub/f", "dir/sub/final"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the Commit cannot be repeated: %w", err)
			}
			return first(gone(ctx, fsys, "dir/sub/f"), holds(ctx, fsys, "dir/sub/final", "content"))
		}},
		{"CreatedAfterwards", write, func(ctx context.Context, fsys mapreduce.FileSystem) error {
			_, err := fsys.Create(ctx, "dir/sub/f")
			return first(is(err, fs.ErrExist, "creating what is there"), put(ctx, fsys, "dir/sub/g", "new"), holds(ctx, fsys, "dir/sub/g", "new"))
		}},
	}
}
