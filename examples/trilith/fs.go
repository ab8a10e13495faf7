package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/gfs"
)

// masterEnv names the environment variable with the addresses of masters.
const masterEnv = "TRILITH_MASTER"

// fsRole is a function because the verbs are many.
func fsRole() role {
	return role{
		name:    "fs",
		usage:   "VERB [arguments]",
		summary: "works with the files of a gfs",
		details: `
Paths are those of the gfs, from its root on, with or without a slash at the beginning;
those of this machine are called FILE. Patterns in paths are expanded: *, ?, [...], and
** for any number of directories. Quote them, or the shell expands them first.
`,
		define: func(f *flag.FlagSet) func(context.Context, []string, output) error {
			var fl fsFlags
			fl.define(f)
			return func(context.Context, []string, output) error {
				return local.BadUsage("the verb is missing: ls, put, get, …")
			}
		},
		verbs: []role{
			putVerb, getVerb, catVerb, appendVerb,
			lsVerb, statVerb, mkdirVerb, rmVerb, undeleteVerb, mvVerb, snapshotVerb, chmodVerb, chownVerb, setrepVerb,
			duVerb, policyVerb, fsckVerb, serversVerb, drainVerb, rebalanceVerb,
		},
	}
}

// fsFlags are those of all verbs.
type fsFlags struct {
	clusterFlags
	masters string
	shadows string
	user    string
	timeout time.Duration
}

func (o *fsFlags) define(f *flag.FlagSet) {
	o.clusterFlags.define(f)
	f.StringVar(&o.masters, "master", os.Getenv(masterEnv), "the `address` of the master, host:port; several, separated by commas, if any of them may lead (default: what the environment has as "+masterEnv+")")
	f.StringVar(&o.shadows, "shadow", "", "the `addresses` of shadows, separated by commas, which answer if the master does not")
	f.StringVar(&o.user, "user", "", "the `name` of who asks; with TLS it must be in the certificate of -cert (default: none, which is a super user)")
	f.DurationVar(&o.timeout, "timeout", dialTimeout, "how long to wait for the master to answer at first")
}

// verb returns what a role defines that is a verb of fs: its flags, which may stand
// between its arguments, and what it does with a client. Of its arguments there are
// least at the least, which what names.
func verb(least int, what string, flags func(f *flag.FlagSet) verbFunc) func(f *flag.FlagSet) func(context.Context, []string, output) error {
	return func(f *flag.FlagSet) func(context.Context, []string, output) error {
		var o fsFlags
		o.define(f)
		do := flags(f)
		return func(ctx context.Context, args []string, out output) error {
			args, err := mixed(f, args)
			if err != nil {
				return err
			}
			if len(args) < least {
				return local.BadUsage("%s is missing", what)
			}
			return o.with(ctx, out, func(client *gfs.Client) error {
				return do(&verbCall{ctx: ctx, client: client, out: out}, args)
			})
		}
	}
}

// verbFunc does what a verb does.
type verbFunc func(c *verbCall, args []string) error

// A verbCall is one execution of a verb.
type verbCall struct {
	ctx    context.Context
	client *gfs.Client
	out    output
}

// mixed parses flags that stand between arguments, and returns the arguments.
func mixed(f *flag.FlagSet, args []string) (plain []string, err error) {
	for len(args) > 0 {
		if err := local.Parse(f, args); err != nil {
			return nil, err
		}
		rest := f.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			return append(plain, rest...), nil
		}
		if len(rest) == 0 {
			break
		}
		plain, args = append(plain, rest[0]), rest[1:]
	}
	return plain, nil
}

// with calls f with a client.
func (o *fsFlags) with(ctx context.Context, out output, f func(client *gfs.Client) error) error {
	switch {
	case o.masters == "":
		return local.BadUsage("-master is missing: the address of the master, host:port")
	case o.timeout <= 0:
		return local.BadUsage("-timeout is %v, it must be positive", o.timeout)
	}
	cfg := gfs.ClientConfig{User: o.user}
	var err error
	if cfg.Masters, err = addresses("master", o.masters); err != nil {
		return err
	}
	if o.shadows != "" {
		if cfg.Shadows, err = addresses("shadow", o.shadows); err != nil {
			return err
		}
	}
	cl, err := o.open("fs", false, out)
	if err != nil {
		return err
	}
	client, err := cl.dial(ctx, cfg, o.timeout)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return fmt.Errorf("no master has answered within %v: %w", o.timeout, err)
		}
		return err
	}
	defer client.Close()
	return f(client)
}

// clean returns the path that an argument means.
func clean(arg string) string {
	p := strings.TrimPrefix(path.Clean("/"+arg), "/")
	if p == "" {
		return "."
	}
	return p
}

// expand returns the paths that arguments mean, in which there may be patterns. A path
// that is there as it is written means itself.
func (c *verbCall) expand(args []string) ([]string, error) {
	var paths []string
	for _, arg := range args {
		p := clean(arg)
		if !strings.ContainsAny(p, `*?[\`) {
			paths = append(paths, p)
			continue
		}
		if _, err := c.client.Stat(c.ctx, p); err == nil {
			paths = append(paths, p)
			continue
		}
		found, err := c.client.Glob(c.ctx, p)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: nothing matches", arg)
		}
		paths = append(paths, found...)
	}
	return paths, nil
}

// each calls f with each path that arguments mean, and goes on after errors.
func (c *verbCall) each(args []string, f func(p string) error) error {
	paths, err := c.expand(args)
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range paths {
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		if err := f(p); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// isDir reports whether a path is that of a directory.
func (c *verbCall) isDir(p string) (bool, error) {
	info, err := c.client.Stat(c.ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

// target returns where something named base comes to be that is moved or copied to arg:
// there, or in there if that is a directory.
func (c *verbCall) target(arg, base string, several bool) (string, error) {
	p := clean(arg)
	dir, err := c.isDir(p)
	switch {
	case err != nil:
		return "", err
	case dir:
		return path.Join(p, base), nil
	case several:
		return "", fmt.Errorf("%s: %w; several can only go into one", arg, gfs.ErrNotDir)
	case strings.HasSuffix(arg, "/"):
		return path.Join(p, base), nil
	}
	return p, nil
}
