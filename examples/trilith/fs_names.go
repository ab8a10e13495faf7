package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
)

var lsVerb = role{
	name: "ls", usage: "[PATH...]", summary: "lists directories and files",
	details: `
With -deleted it lists what was removed and can be undeleted, under its hidden names: it
can be read under them, and removed for good.
`,
	define: verb(0, "", func(f *flag.FlagSet) verbFunc {
		long := f.Bool("l", false, "tell all about each")
		deep := f.Bool("r", false, "list all that is below too")
		deleted := f.Bool("deleted", false, "list what was removed instead")
		return func(c *verbCall, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			l := &lister{verbCall: c, w: tabwriter.NewWriter(c.out.stdout, 0, 0, 2, ' ', 0), long: *long, deep: *deep, deleted: *deleted}
			err := c.each(args, l.list)
			if flushed := l.w.Flush(); err == nil {
				err = flushed
			}
			return err
		}
	}),
}

// A lister is one ls.
type lister struct {
	*verbCall
	w                   *tabwriter.Writer
	long, deep, deleted bool
}

func (l *lister) list(p string) error {
	info, err := l.client.Stat(l.ctx, p)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		l.print(info, p)
		return nil
	}
	return l.listDir(p)
}

func (l *lister) listDir(p string) error {
	read := l.client.ReadDir
	if l.deleted {
		read = l.client.ReadDeleted
	}
	entries, err := read(l.ctx, p)
	if err != nil {
		return err
	}
	for _, e := range entries {
		l.print(e, path.Join(p, e.Name()))
	}
	if !l.deep {
		return nil
	}
	if l.deleted { // it is in directories that are there
		if entries, err = l.client.ReadDir(l.ctx, p); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := l.listDir(path.Join(p, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lister) print(e *gfs.Info, p string) {
	if e.IsDir() {
		p += "/"
	}
	if !l.long {
		fmt.Fprintln(l.w, p)
		return
	}
	fmt.Fprintf(l.w, "%v\t%s\t%s\t%d\t%d\t%s\t%s", e.Mode(), orDash(e.Owner()), orDash(e.Group()), e.Replication(), e.Size(), e.ModTime().Local().Format(time.DateTime), p)
	if at := e.Deleted(); !at.IsZero() {
		fmt.Fprintf(l.w, "\tremoved %s", at.Local().Format(time.DateTime))
	}
	fmt.Fprintln(l.w)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

var statVerb = role{
	name: "stat", usage: "PATH...", summary: "tells all about files and directories",
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		where := f.Bool("where", false, "tell on which hosts each chunk is")
		return func(c *verbCall, args []string) error {
			return c.each(args, func(p string) error {
				info, err := c.client.Stat(c.ctx, p)
				if err != nil {
					return err
				}
				printInfo(c.out.stdout, p, info)
				if *where && !info.IsDir() {
					return c.printWhere(p, info)
				}
				return nil
			})
		}
	}),
}

func printInfo(w io.Writer, p string, i *gfs.Info) {
	fmt.Fprintf(w, "%s\n  %v, owner %s, group %s, modified %s\n", p, i.Mode(), orDash(i.Owner()), orDash(i.Group()), i.ModTime().Local().Format(time.DateTime))
	if i.IsDir() {
		if n := i.Replication(); n > 0 {
			fmt.Fprintf(w, "  new files below have %d replicas\n", n)
		}
	} else {
		fmt.Fprintf(w, "  %d bytes in %d chunks of %d replicas", i.Size(), i.Chunks(), i.Replication())
		if i.Growing() {
			fmt.Fprint(w, ", is being written")
		}
		fmt.Fprintln(w)
	}
	if at := i.Deleted(); !at.IsZero() {
		fmt.Fprintf(w, "  removed %s\n", at.Local().Format(time.DateTime))
	}
}

func (c *verbCall) printWhere(p string, info *gfs.Info) error {
	size := c.client.ChunkSize()
	for i := range info.Chunks() {
		hosts, err := c.client.Locate(c.ctx, p, i*size, 1)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out.stdout, "  chunk %d: %s\n", i, orDash(strings.Join(hosts, " ")))
	}
	return nil
}

var mkdirVerb = role{
	name: "mkdir", usage: "PATH...", summary: "makes directories",
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		parents := f.Bool("p", false, "make those above too; one that is there is no error")
		return func(c *verbCall, args []string) error {
			for _, arg := range args {
				mkdir := c.client.Mkdir
				if *parents {
					mkdir = c.client.MkdirAll
				}
				if err := mkdir(c.ctx, clean(arg), 0o755); err != nil {
					return err
				}
			}
			return nil
		}
	}),
}

var rmVerb = role{
	name: "rm", usage: "PATH...", summary: "removes files and directories",
	details: `
They can be undeleted until their retention is over. Removed again under its hidden name
(ls -deleted tells it), something is gone for good, and its space is free soon.
`,
	define: verb(1, "the path", func(f *flag.FlagSet) verbFunc {
		all := f.Bool("r", false, "remove directories with everything in them")
		return func(c *verbCall, args []string) error {
			return c.each(args, func(p string) error {
				if !*all {
					return c.client.Remove(c.ctx, p)
				}
				if _, err := c.client.Stat(c.ctx, p); err != nil { // RemoveAll is content with nothing
					return err
				}
				return c.client.RemoveAll(c.ctx, p)
			})
		}
	}),
}

var undeleteVerb = role{
	name: "undelete", usage: "PATH [TO]", summary: "brings back what was removed",
	details: `
PATH is where it was: then it is what was removed there last. Or it is a hidden name, as
ls -deleted tells it.
`,
	define: verb(1, "the path", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			to := ""
			switch {
			case len(args) > 2:
				return local.BadUsage("unexpected argument %q", args[2])
			case len(args) == 2:
				to = clean(args[1])
			}
			at, err := c.client.Undelete(c.ctx, clean(args[0]), to)
			if err == nil {
				fmt.Fprintln(c.out.stdout, at)
			}
			return err
		}
	}),
}

var mvVerb = role{
	name: "mv", usage: "PATH... TO", summary: "renames, or moves into a directory",
	define: verb(2, "what to move, or where,", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			from, err := c.expand(args[:len(args)-1])
			if err != nil {
				return err
			}
			for _, p := range from {
				to, err := c.target(args[len(args)-1], path.Base(p), len(from) > 1)
				if err == nil {
					err = c.client.Rename(c.ctx, p, to)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
	}),
}

var snapshotVerb = role{
	name: "snapshot", usage: "PATH TO", summary: "copies a file or directory at once",
	details: `
The copy shares its chunks with the original, until one of the two is written to.
`,
	define: verb(2, "what to copy, or where,", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			if len(args) > 2 {
				return local.BadUsage("unexpected argument %q", args[2])
			}
			from := clean(args[0])
			to, err := c.target(args[1], path.Base(from), false)
			if err != nil {
				return err
			}
			return c.client.Snapshot(c.ctx, from, to)
		}
	}),
}

var chmodVerb = role{
	name: "chmod", usage: "MODE PATH...", summary: "sets permission bits, in octal",
	define: verb(2, "the mode, or the path,", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			mode, err := strconv.ParseUint(args[0], 8, 32)
			if err != nil || fs.FileMode(mode)&^fs.ModePerm != 0 {
				return local.BadUsage("%q is no mode: want octal digits, as 640", args[0])
			}
			return c.each(args[1:], func(p string) error { return c.client.Chmod(c.ctx, p, fs.FileMode(mode)) })
		}
	}),
}

var chownVerb = role{
	name: "chown", usage: "OWNER[:GROUP] PATH...", summary: "sets owner and group",
	define: verb(2, "the owner, or the path,", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			owner, group, _ := strings.Cut(args[0], ":")
			return c.each(args[1:], func(p string) error { return c.client.Chown(c.ctx, p, owner, group) })
		}
	}),
}

var setrepVerb = role{
	name: "setrep", usage: "N PATH...", summary: "sets how many replicas files have",
	details: `
Of a directory it holds for all files below, and for new ones. It returns before the
replicas are made: fsck tells when they are.
`,
	define: verb(2, "the number, or the path,", func(*flag.FlagSet) verbFunc {
		return func(c *verbCall, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > gfs.MaxReplication {
				return local.BadUsage("%q is no number from 1 to %d", args[0], gfs.MaxReplication)
			}
			return c.each(args[1:], func(p string) error { return c.client.SetReplication(c.ctx, p, n) })
		}
	}),
}
