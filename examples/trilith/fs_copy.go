package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
)

// copyFlags are those of put and get.
type copyFlags struct {
	force       bool
	parallel    int
	replication int
}

func (o *copyFlags) define(f *flag.FlagSet) {
	f.BoolVar(&o.force, "f", false, "replace files that are there")
	f.IntVar(&o.parallel, "parallel", 4, "copy so many `files` at a time")
}

func (o *copyFlags) check() error {
	const most = 256
	switch {
	case o.parallel < 1 || o.parallel > most:
		return local.BadUsage("-parallel is %d, not 1 to %d", o.parallel, most)
	case o.replication < 0 || o.replication > gfs.MaxReplication:
		return local.BadUsage("-replication is %d, not 1 to %d", o.replication, gfs.MaxReplication)
	}
	return nil
}

var putVerb = role{
	name: "put", usage: "FILE... PATH", summary: "copies files and directories into the gfs",
	details: `
PATH is what the copy is called, or a directory into which it goes. FILE - is the
standard input. A file appears when all of it is there, durably.
`,
	define: verb(2, "what to copy, or where,", func(f *flag.FlagSet) verbFunc {
		var o copyFlags
		o.define(f)
		f.IntVar(&o.replication, "replication", 0, "keep so many `replicas` of each chunk (default: what the directory says)")
		return func(c *verbCall, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			p := &copying{verbCall: c, copyFlags: o}
			to := args[len(args)-1]
			for _, src := range args[:len(args)-1] {
				if err := p.addLocal(src, to, len(args) > 2); err != nil {
					return err
				}
			}
			return p.run("put", p.put, func(dir string) error { return c.client.MkdirAll(c.ctx, dir, 0o755) })
		}
	}),
}

var getVerb = role{
	name: "get", usage: "PATH... FILE", summary: "copies files and directories out of the gfs",
	details: `
FILE is what the copy is called, or a directory into which it goes.
`,
	define: verb(2, "what to copy, or where,", func(f *flag.FlagSet) verbFunc {
		var o copyFlags
		o.define(f)
		return func(c *verbCall, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			paths, err := c.expand(args[:len(args)-1])
			if err != nil {
				return err
			}
			p := &copying{verbCall: c, copyFlags: o}
			for _, src := range paths {
				if err := p.addRemote(src, args[len(args)-1], len(paths) > 1); err != nil {
					return err
				}
			}
			return p.run("get", p.get, func(dir string) error { return os.MkdirAll(dir, 0o777) })
		}
	}),
}

// A copying is a copy of some files and directories.
type copying struct {
	*verbCall
	copyFlags
	dirs  []string // to be made
	files []copyItem
	bytes int64
	shown *local.Copying
}

type copyItem struct {
	from, to string
	perm     fs.FileMode
}

// stdin is the name of the standard input.
const stdin = "-"

// addLocal adds a file or directory of this machine.
func (p *copying) addLocal(src, to string, several bool) error {
	if src == stdin {
		p.files = append(p.files, copyItem{src, clean(to), 0o644})
		return nil
	}
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(src) // what . is called
	if err != nil {
		return err
	}
	target, err := p.target(to, filepath.Base(abs), several)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return p.addFile(src, target, info)
	}
	return filepath.WalkDir(src, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		at := path.Join(target, filepath.ToSlash(rel))
		if e.IsDir() {
			p.dirs = append(p.dirs, at)
			return p.ctx.Err()
		}
		info, err := os.Stat(name) // of what a link means
		if err != nil {
			return err
		}
		return p.addFile(name, at, info)
	})
}

// addFile adds a file of this machine, unless it is something else.
func (p *copying) addFile(src, to string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		fmt.Fprintf(p.out.stderr, "%s is left out: it is not a regular file\n", src)
		return nil
	}
	p.files = append(p.files, copyItem{src, to, info.Mode().Perm()})
	p.bytes += info.Size()
	return nil
}

// addRemote adds a file or directory of the gfs.
func (p *copying) addRemote(src, to string, several bool) error {
	info, err := p.client.Stat(p.ctx, src)
	if err != nil {
		return err
	}
	there, err := os.Stat(to)
	switch {
	case err == nil && there.IsDir() && src != ".":
		to = filepath.Join(to, path.Base(src))
	case several:
		return fmt.Errorf("%s: it is not a directory, into which several can go", to)
	}
	return p.addBelow(info, src, to)
}

func (p *copying) addBelow(info *gfs.Info, src, to string) error {
	if !info.IsDir() {
		p.files = append(p.files, copyItem{src, to, info.Mode().Perm()})
		p.bytes += info.Size()
		return nil
	}
	p.dirs = append(p.dirs, to)
	entries, err := p.client.ReadDir(p.ctx, src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, err := filepath.Localize(e.Name())
		if err != nil {
			return fmt.Errorf("%s cannot be a name on this machine: %w", path.Join(src, e.Name()), err)
		}
		if err := p.addBelow(e, path.Join(src, e.Name()), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// run makes the directories and copies the files.
func (p *copying) run(verb string, one func(ctx context.Context, item *copyItem) error, mkdir func(dir string) error) error {
	for _, dir := range p.dirs {
		if err := mkdir(dir); err != nil {
			return err
		}
	}
	p.shown = local.NewProgress(p.out.stderr).Copy(verb, len(p.files), p.bytes)
	group, ctx := errgroup.WithContext(p.ctx)
	group.SetLimit(p.parallel)
	for i := range p.files {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err := one(ctx, &p.files[i])
			if err == nil {
				p.shown.File()
			}
			return err
		})
	}
	err := group.Wait()
	done := p.shown.End()
	if err != nil {
		if p.ctx.Err() != nil {
			return fmt.Errorf("interrupted; what is copied stays (%s)", done)
		}
		return err
	}
	fmt.Fprintln(p.out.stdout, done)
	return nil
}

// copyBuffer is how many bytes are copied at a time.
const copyBuffer = 1 << 20

// stream copies from r to w, as long as ctx lasts.
func (p *copying) stream(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, copyBuffer)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			_, _ = p.shown.Write(buf[:n]) // it only counts
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// put copies one file into the gfs.
func (p *copying) put(ctx context.Context, item *copyItem) error {
	if !p.force {
		if _, err := p.client.Stat(ctx, item.to); err == nil {
			return fmt.Errorf("%s: %w; -f replaces it", item.to, fs.ErrExist)
		}
	}
	src := os.Stdin
	if item.from != stdin {
		var err error
		if src, err = os.Open(item.from); err != nil {
			return err
		}
		defer src.Close()
	}
	temporary := path.Join(path.Dir(item.to), fmt.Sprintf(".%016x.putting", rand.Uint64()))
	dst, err := p.client.OpenFile(ctx, temporary, gfs.OpenOptions{Create: true, Exclusive: true, Perm: item.perm, Replication: p.replication})
	if err != nil {
		return err
	}
	err = p.stream(ctx, dst, src)
	if err == nil {
		err = dst.SyncContext(ctx)
	}
	if closed := dst.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = p.commit(ctx, temporary, item.to)
	}
	if err != nil {
		// Also if the user has had enough of it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
		defer cancel()
		_ = p.client.Remove(ctx, temporary)
	}
	return err
}

// cleanWithin bounds how long a copy that has failed is cleaned up after.
const cleanWithin = 5 * time.Second

// commit gives a file its name.
func (p *copying) commit(ctx context.Context, temporary, to string) error {
	const tries = 16 // others may replace it too
	for n := 1; ; n++ {
		err := p.client.Rename(ctx, temporary, to)
		if !p.force || n == tries || !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := p.client.Remove(ctx, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// get copies one file out of the gfs.
func (p *copying) get(ctx context.Context, item *copyItem) error {
	if _, err := os.Lstat(item.to); err == nil && !p.force {
		return fmt.Errorf("%s: %w; -f replaces it", item.to, fs.ErrExist)
	}
	src, err := p.client.Open(ctx, item.from)
	if err != nil {
		return err
	}
	defer src.Close()
	temporary := filepath.Join(filepath.Dir(item.to), fmt.Sprintf(".%016x.getting", rand.Uint64()))
	dst, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, item.perm|0o200)
	if err != nil {
		return err
	}
	err = errors.Join(p.stream(ctx, dst, src), dst.Close())
	if err == nil {
		err = os.Rename(temporary, item.to)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

var catVerb = role{
	name: "cat", usage: "PATH...", summary: "prints files",
	details: `
With -records it prints what "append -records" has written: each record once, a line
each, without what lies between them.
`,
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		records := f.Bool("records", false, "print the records of the files")
		return func(c *verbCall, args []string) error {
			return c.each(args, func(p string) error {
				file, err := c.client.Open(c.ctx, p)
				if err != nil {
					return err
				}
				defer file.Close()
				defer context.AfterFunc(c.ctx, func() { _ = file.Close() })()
				if *records {
					return c.catRecords(file)
				}
				_, err = io.Copy(c.out.stdout, file)
				return err
			})
		}
	}),
}

func (c *verbCall) catRecords(file *gfs.File) error {
	w := bufio.NewWriter(c.out.stdout)
	r := gfs.NewRecordReader(file, gfs.RecordReaderConfig{})
	for {
		record, err := r.Next()
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		_, _ = w.Write(record.Data) // Flush tells
		_ = w.WriteByte('\n')
	}
}

var appendVerb = role{
	name: "append", usage: "PATH [FILE]", summary: "appends lines to a file",
	details: `
It appends the lines of FILE, or of the standard input, to a file that any number of
others may append to at the same time, and makes that if it is not there. Lines go
together in pieces, each of which is there as a whole, at least once; it tells where.
With -records each line is a record, of which "cat -records" prints duplicates once.
`,
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		records := f.Bool("records", false, "make each line a record")
		return func(c *verbCall, args []string) (err error) {
			src := os.Stdin
			switch {
			case len(args) > 2:
				return local.BadUsage("unexpected argument %q", args[2])
			case len(args) == 2 && args[1] != stdin:
				if src, err = os.Open(args[1]); err != nil {
					return err
				}
				defer src.Close()
			}
			file, err := c.client.Append(c.ctx, clean(args[0]))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			if *records {
				return c.appendRecords(file, src)
			}
			return c.appendLines(file, src)
		}
	}),
}

func (c *verbCall) appendRecords(file *gfs.File, src io.Reader) error {
	w := gfs.NewRecordWriter(file, gfs.RecordWriterConfig{})
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, w.MaxRecord())
	n := 0
	for lines.Scan() {
		if err := w.WriteContext(c.ctx, lines.Bytes()); err != nil {
			return err
		}
		n++
	}
	if err := errors.Join(lines.Err(), w.Sync(c.ctx)); err != nil {
		return err
	}
	fmt.Fprintf(c.out.stdout, "%d records\n", n)
	return nil
}

// appendLines appends as many lines at a time as fit.
func (c *verbCall) appendLines(file *gfs.File, src io.Reader) error {
	most := min(c.client.MaxRecord(), copyBuffer)
	r := bufio.NewReaderSize(src, most)
	var piece []byte
	flush := func() error {
		if len(piece) == 0 {
			return nil
		}
		off, err := file.AppendContext(c.ctx, piece)
		if err == nil {
			fmt.Fprintf(c.out.stdout, "%d bytes at %d\n", len(piece), off)
		}
		piece = piece[:0]
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("a line is longer than %d bytes, the most that can be appended at once", most)
		}
		if err != nil && err != io.EOF {
			return err
		}
		if len(piece)+len(line) > most {
			if err := flush(); err != nil {
				return err
			}
		}
		piece = append(piece, line...)
		if err == io.EOF {
			return errors.Join(flush(), file.SyncContext(c.ctx))
		}
	}
}
