package mapreduce

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// feedBytes is how much input is gathered for one write. Each write that a slow
	// program has made room for shows that it is alive, so it is not too much.
	feedBytes = 16 << 10
	// leftoverPatience is how long the output of a program that has exited may be
	// kept open, in silence, by what the program has started.
	leftoverPatience = 5 * time.Second
	// reportBytes bounds a line of standard error; the rest of a longer one is lost.
	reportBytes = 64 << 10
)

// program is a process that a task runs. Three goroutines serve it: the task's own
// feeds it, one takes its output, one listens to its standard error; so it may read
// and write as it pleases. A fourth waits for its end.
type program struct {
	t     *Task
	role  string // mapper, combiner or reducer
	words []string
	// anyStatus says that no exit status is a failure.
	anyStatus bool

	stdin, stdout, stderr *os.File
	in                    *bufio.Writer
	deaf                  bool // it reads no more
	settled               bool // finish has returned

	gone    atomic.Bool    // it has exited
	readers sync.WaitGroup // of its output
	ended   chan struct{}  // closed when nothing is left of it; set before that are:
	exit    error          // of exec.Cmd.Wait
	failed  error          // of take
	said    tail           // on standard error
	unwatch func() bool

	mu       sync.Mutex // guards what follows
	process  *os.Process
	over     bool // the process and its group are gone
	tracked  bool // which record it has failed on is the affair of the task
	tells    bool // it says how many records it is done with
	given    attempted
	fed      uint64 // records
	finished uint64 // records that it says it is done with
}

// start starts one of the programs, for input that begins in a file. take gets its
// output, on a goroutine of its own; if it fails the program is killed. Who starts a
// program must call finish or abort.
func (c *Command) start(t *Task, role string, words []string, file string, take func(io.Reader) error) (*program, error) {
	p := &program{t: t, role: role, words: words, anyStatus: c.IgnoreExitStatus, ended: make(chan struct{})}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), c.environment(t, file)...)
	isolate(cmd)
	theirs, err := p.connect(cmd)
	p.readers.Add(2)
	if err == nil {
		started := make(chan error, 1)
		go p.wait(cmd, started)
		err = <-started
	}
	for _, f := range theirs {
		_ = f.Close() // the program has its own
	}
	if err != nil {
		p.disconnect()
		return nil, fmt.Errorf("%w: start %s: %w", ErrProgram, p.name(), err)
	}
	p.in = bufio.NewWriterSize(p.stdin, feedBytes)
	go func() {
		defer p.readers.Done()
		if p.failed = take(&programOutput{p, p.stdout}); p.failed != nil {
			p.kill()
		}
	}()
	go p.listen()
	p.unwatch = context.AfterFunc(t.ctx, p.kill)
	return p, nil
}

// connect makes the pipes, and returns the program's ends of them.
func (p *program) connect(cmd *exec.Cmd) (theirs []*os.File, err error) {
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	in, stdin := pipe()
	stdout, out := pipe()
	stderr, errs := pipe()
	p.stdin, p.stdout, p.stderr = stdin, stdout, stderr
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	return []*os.File{in, out, errs}, err // to close a nil one does nothing
}

// disconnect closes our ends of the pipes, and so ends whatever waits for them.
func (p *program) disconnect() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		_ = f.Close() // again, maybe
	}
}

// wait starts the process, waits for its end and cleans up: on one thread, as the
// process lives no longer than the thread that has started it.
func (p *program) wait(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	p.process = cmd.Process
	started <- err
	if err != nil {
		return
	}
	reap := awaitExit(cmd)
	p.gone.Store(true)
	// Where pipes know no deadlines, leftovers are waited for.
	deadline := time.Now().Add(leftoverPatience)
	_, _ = p.stdout.SetReadDeadline(deadline), p.stderr.SetReadDeadline(deadline)
	_ = p.stdin.Close() // nobody is to read any more
	p.readers.Wait()
	p.mu.Lock()
	killGroup(p.process) // what it has left behind
	p.over = true
	p.mu.Unlock()
	p.exit = reap()
	p.disconnect()
	close(p.ended)
}

// programOutput reads what a program writes, and shows that it is alive.
type programOutput struct {
	p    *program
	file *os.File
}

// errLeftover reports a program that has left something behind.
var errLeftover = errors.New("it has exited, but what it has started keeps its output open")

// Read implements io.Reader.
func (o *programOutput) Read(b []byte) (int, error) {
	if o.p.gone.Load() {
		_ = o.file.SetReadDeadline(time.Now().Add(leftoverPatience)) // as in wait
	}
	n, err := o.file.Read(b)
	o.p.t.Progress()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %s: %w", ErrProgram, o.p.name(), errLeftover)
	}
	return n, err
}

// listen takes what the program writes to standard error.
func (p *program) listen() {
	defer p.readers.Done()
	lines := newOutputLines(&programOutput{p, p.stderr}, reportBytes)
	for {
		line, err := lines.next()
		if err != nil && !errors.Is(err, ErrTooLarge) {
			return // it has closed it, or is gone
		}
		r, ok := parseReport(string(line))
		switch {
		case !ok:
			p.said.add(line)
			p.t.log.add(line)
		case r.counter != "":
			p.t.Counter(r.counter).Add(r.n)
			if r.skip {
				p.completed(r.n)
			}
		default:
			p.t.log.add([]byte(r.status))
		}
	}
}

// completed notes that the program is done with n more records.
func (p *program) completed(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tells = true
	p.finished += uint64(max(n, 0))
	p.blameLocked()
}

// track makes the program's records those of the task, of which some are skipped.
func (p *program) track(skip []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracked, p.given.skip = true, skip
}

// next is called before the program gets the lines of another record, number n of
// the task.
func (p *program) next(n uint64) {
	p.t.Progress()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fed == 0 {
		p.given.base = n
	}
	p.fed++
	p.blameLocked()
}

// blameLocked says which record the program works on, if that is known.
func (p *program) blameLocked() {
	if !p.tracked || !p.tells {
		return
	}
	at := uint64(0)
	if p.finished < p.fed {
		at = p.given.number(p.finished) + 1
	}
	p.t.records.blame(at)
}

// line gives the program a line. It reports whether the program reads on.
func (p *program) line(parts ...[]byte) bool {
	for _, b := range parts {
		_, _ = p.in.Write(b) // the error shows below
	}
	if !p.deaf {
		// All that can be wrong with a pipe is that nobody reads it.
		p.deaf = p.in.WriteByte('\n') != nil
	}
	return !p.deaf
}

// finish ends the program's input, waits for its end, and returns whether it has
// failed.
func (p *program) finish() error {
	_ = p.in.Flush() // if it does not read all, that is its affair
	_ = p.stdin.Close()
	<-p.ended
	p.unwatch()
	p.settled = true
	err := p.failed
	switch {
	case p.t.ctx.Err() != nil:
		err = context.Cause(p.t.ctx)
	case err == nil && p.exit != nil && !(p.anyStatus && hasStatus(p.exit)):
		return p.failure()
	}
	p.t.records.blame(0) // whatever is wrong, no record is to blame
	return err
}

// hasStatus reports whether a program has exited, not been killed.
func hasStatus(exit error) bool {
	var e *exec.ExitError
	return errors.As(exit, &e) && e.Exited()
}

// abort kills the program, and returns when nothing is left of it. After finish it
// does nothing.
func (p *program) abort() {
	if p.settled {
		return
	}
	p.kill()
	<-p.ended
	p.unwatch()
	p.t.records.blame(0) // as in finish
}

// kill kills the program and all processes of its group.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	killGroup(p.process)
	p.disconnect()
}

// failure returns how the program has failed, with what it said.
func (p *program) failure() error {
	if said := p.said.String(); said != "" {
		return fmt.Errorf("%w: %s: %w; its standard error:\n%s", ErrProgram, p.name(), p.exit, said)
	}
	return fmt.Errorf("%w: %s: %w, and nothing on its standard error", ErrProgram, p.name(), p.exit)
}

// name returns the program as it is named in errors.
func (p *program) name() string {
	const enough = 200
	line := strings.Join(p.words, " ")
	if len(line) > enough {
		line = line[:enough] + "…"
	}
	return fmt.Sprintf("%s %q", p.role, line)
}
