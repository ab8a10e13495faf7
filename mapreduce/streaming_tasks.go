package mapreduce

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
)

// mapRecords implements definition.mapRecords.
func (s *streaming) mapRecords(t *Task, records iter.Seq2[Record, error], out *collector) error {
	c, err := s.settle(t.spec.Args)
	if err != nil {
		return err
	}
	out.mem.dropTable() // of another job
	if len(c.Combiner) == 0 {
		return c.mapPairs(t, records, func(key, rest []byte) error {
			return out.add(c.partition(t, key), key, rest)
		})
	}
	mem := newSortMemory(0, out.mem.most/2, out.mem.takeTable)
	mem.begin(1)
	part := &combinable{c: c, t: t, out: out, pairs: mem.buffers[0]}
	if err := c.mapPairs(t, records, part.add); err != nil {
		return err
	}
	return part.combine()
}

// mapToFile implements definition.mapToFile.
func (s *streaming) mapToFile(t *Task, records iter.Seq2[Record, error], out io.Writer) error {
	c, err := s.settle(t.spec.Args)
	if err != nil {
		return err
	}
	return c.mapRecords(t, records, takeBytes(t.counters.get(CounterMapRecordsOut), out))
}

// partition returns the partition of a key.
func (c *Command) partition(t *Task, key []byte) int {
	if bounds := t.spec.Bounds; len(bounds) > 0 {
		return rangeOf(bounds, key)
	}
	if c.PartitionFields < c.KeyFields {
		key = key[:prefixFields(key, viewBytes(c.Separator), c.PartitionFields)]
	}
	return hashRange(hashKey(key), t.spec.Reduces)
}

// mapPairs runs the mapper over records and hands on what it writes: keys, and what
// comes after them in a line, separator included. add is called on another goroutine,
// but not after mapPairs has returned.
func (c *Command) mapPairs(t *Task, records iter.Seq2[Record, error], add func(key, rest []byte) error) error {
	count := t.counters.local(CounterMapRecordsOut)
	return c.mapRecords(t, records, c.takePairs(&count, add))
}

// mapRecords runs the mapper over records, once or for each of their files. take gets
// what it writes.
func (c *Command) mapRecords(t *Task, records iter.Seq2[Record, error], take func(io.Reader) error) error {
	var (
		at   Record
		p    *program // that runs
		skip = slices.Clone(t.records.skip)
	)
	start := func(file string) (err error) {
		if p, err = c.start(t, "mapper", c.Mapper, file, take); err == nil {
			p.track(skip)
		}
		return err
	}
	defer func() {
		if p != nil {
			p.abort()
		}
	}()
	in, size := t.counters.local(CounterMapRecordsIn), t.counters.local(CounterMapBytesIn)
	flush := func() { in.flush(); size.flush() }
	defer flush()
	return guard(func() string { return fmt.Sprintf("record at %s:%d", at.File, at.Offset) }, func() error {
		for r, err := range records {
			if err != nil {
				return err
			}
			if p != nil && c.PerFile && r.File != at.File {
				if err := p.finish(); err != nil {
					return err
				}
				p = nil
			}
			at = r
			if p == nil {
				if err := start(r.File); err != nil {
					return err
				}
			}
			n, skip := t.records.pass()
			if skip || p.deaf {
				if p.deaf && !c.PerFile {
					break
				}
				continue
			}
			p.next(n)
			if r.Key != nil {
				p.line(r.Key, viewBytes(c.Separator), r.Value)
			} else {
				p.line(r.Value)
			}
			in.n++
			size.n += int64(len(r.Key) + len(r.Value))
			if in.n == countEvery {
				flush()
			}
			if t.ctx.Err() != nil {
				return context.Cause(t.ctx)
			}
		}
		if p == nil { // as it is for a shell, without input
			if err := start(""); err != nil {
				return err
			}
		}
		return p.finish()
	})
}

// takePairs returns what takes the output of a program that writes keys and values.
func (c *Command) takePairs(count *localCounter, add func(key, rest []byte) error) func(io.Reader) error {
	return func(stdout io.Reader) error {
		defer count.flush()
		for lines := newOutputLines(stdout, MaxRecordBytes); ; {
			line, err := lines.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read the output of a program: %w", err)
			}
			key := prefixFields(line, viewBytes(c.Separator), c.KeyFields)
			if err := add(line[:key], line[key:]); err != nil {
				return err
			}
			if count.n++; count.n == countEvery {
				count.flush()
			}
		}
	}
}

// combinable is output of a mapper that waits to be combined.
type combinable struct {
	c     *Command
	t     *Task
	out   *collector
	pairs *pairBuffer
}

func (b *combinable) add(key, rest []byte) error {
	n := len(key) + len(rest)
	if n > MaxRecordBytes {
		return tooLarge(n)
	}
	for !b.pairs.fits(n) && !b.pairs.grow(n, len(b.pairs.pairs) == 0) {
		if err := b.combine(); err != nil {
			return err
		}
	}
	b.pairs.add(0, key, rest)
	return nil
}

// combine sorts what there is and hands what the combiner makes of it to the
// collector.
func (b *combinable) combine() error {
	if len(b.pairs.pairs) == 0 {
		return nil
	}
	b.pairs.prepare()
	b.pairs.sort()
	t := b.t
	uncounted := localCounter{to: new(Counter)}
	p, err := b.c.start(t, "combiner", b.c.Combiner, "", b.c.takePairs(&uncounted, func(key, rest []byte) error {
		return b.out.add(b.c.partition(t, key), key, rest)
	}))
	if err != nil {
		return err
	}
	defer p.abort()
	for _, pair := range b.pairs.pairs {
		key, rest := splitPair(b.pairs.encoded(pair.place))
		t.Progress()
		if !p.line(key, rest) {
			break
		}
	}
	b.pairs.reset()
	return p.finish()
}

// emittedKeys implements definition.emittedKeys. The mapper may write long after it
// has read, so its input ends when there are keys enough, and more are not taken.
func (s *streaming) emittedKeys(t *Task, records iter.Seq2[Record, error], take func(key []byte)) error {
	c, err := s.settle(t.spec.Args)
	if err != nil {
		return err
	}
	var keys [][]byte
	var enough atomic.Bool
	some := func(yield func(Record, error) bool) {
		for r, err := range records {
			if enough.Load() || !yield(r, err) {
				return
			}
		}
	}
	err = c.mapPairs(t, some, func(key, _ []byte) error {
		if len(keys) < sampleKeys {
			keys = append(keys, bytes.Clone(key))
		}
		enough.Store(len(keys) == sampleKeys)
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		take(key)
	}
	return nil
}

// reduceGroups implements definition.reduceGroups.
func (s *streaming) reduceGroups(t *Task, in groupReader, out io.Writer) error {
	c, err := s.settle(t.spec.Args)
	if err != nil {
		return err
	}
	p, err := c.start(t, "reducer", c.Reducer, "", takeBytes(t.counters.get(CounterReduceRecsOut), out))
	if err != nil {
		return err
	}
	defer p.abort()
	p.track(slices.Clone(t.records.skip))
	keys, values := t.counters.local(CounterReduceKeysIn), t.counters.local(CounterReduceRecsIn)
	flush := func() { keys.flush(); values.flush() }
	defer flush()
	for !p.deaf {
		key, ok, err := in.nextKey()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		n, skip := t.records.pass()
		if skip {
			continue
		}
		p.next(n)
		for {
			rest, ok := in.nextValue()
			if !ok || !p.line(key, rest) {
				break
			}
			t.Progress()
			values.n++
		}
		if keys.n++; keys.n == countEvery {
			flush()
		}
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
	}
	return p.finish()
}

// takeBytes returns what takes the output of a program as it is, and counts its lines.
func takeBytes(lines *Counter, out io.Writer) func(io.Reader) error {
	return func(stdout io.Reader) error {
		buf := make([]byte, pipeBytes)
		whole := true // the last line so far has its newline
		for {
			n, err := stdout.Read(buf)
			if n > 0 {
				lines.Add(int64(bytes.Count(buf[:n], []byte{'\n'})))
				whole = buf[n-1] == '\n'
				if _, err := out.Write(buf[:n]); err != nil {
					return err
				}
			}
			switch {
			case err == nil:
				continue
			case err != io.EOF:
				return err
			case !whole:
				lines.Add(1)
			}
			return nil
		}
	}
}

// environment returns what the environment of a program tells of its task.
func (c *Command) environment(t *Task, file string) []string {
	task, reduces := strconv.Itoa(t.index), strconv.Itoa(t.Reduces())
	env := []string{
		"TRILITH_JOB=" + c.Name, "mapreduce_job_name=" + c.Name,
		"TRILITH_TASK_KIND=" + t.kind.String(), "mapreduce_task_ismap=" + strconv.FormatBool(t.kind == MapTask),
		"TRILITH_TASK=" + task, "mapreduce_task_partition=" + task,
		"TRILITH_ATTEMPT=" + t.attempt.String(), "mapreduce_task_attempt_id=" + t.attempt.String(),
		"TRILITH_REDUCES=" + reduces, "mapreduce_job_reduces=" + reduces,
	}
	if file != "" {
		env = append(env, "TRILITH_INPUT_FILE="+file, "mapreduce_map_input_file="+file)
	}
	for _, name := range slices.Sorted(maps.Keys(t.spec.Args)) {
		env = append(env, environmentName(name)+"="+t.spec.Args[name])
	}
	return env
}

// pipeBytes is how much of a program's output is read at a time, as a pipe holds it.
const pipeBytes = 64 << 10

// outputLines reads the lines that a program writes.
type outputLines struct {
	r     *bufio.Reader
	limit int    // of a line, in bytes
	long  []byte // the last line, if it was longer than the buffer
}

func newOutputLines(r io.Reader, limit int) *outputLines {
	return &outputLines{r: bufio.NewReaderSize(r, pipeBytes), limit: limit}
}

// next returns the next line without its newline, valid until the call after it, or
// io.EOF. The last line need not have one. Of a line that is too long it returns the
// beginning with an ErrTooLarge, and goes on behind it.
func (l *outputLines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	size := len(line)
	if err == bufio.ErrBufferFull {
		l.long = l.long[:0]
		for {
			l.long = append(l.long, line[:min(len(line), l.limit+1-len(l.long))]...)
			if err != bufio.ErrBufferFull {
				break
			}
			line, err = l.r.ReadSlice('\n')
			size += len(line)
		}
		line = l.long
	}
	switch {
	case err == nil:
		size-- // the newline
	case err != io.EOF || size == 0:
		return nil, err
	}
	if size > l.limit {
		return line[:l.limit], tooLarge(size)
	}
	return line[:size], nil
}

// sequential implements definition.sequential.
func (s *streaming) sequential(ctx context.Context, r *sequentialRun) error {
	c, err := s.settle(r.spec.Args)
	if err != nil {
		return err
	}
	if len(c.Reducer) == 0 {
		return r.mapToFiles(ctx, s.Input, s.mapToFile)
	}
	return r.mapAndReduce(ctx, func(t *Task, split Split, add func(sequentialPair)) error {
		return c.mapPairs(t, s.Input.Read(ctx, r.input, split), func(key, rest []byte) error {
			add(sequentialPair{c.partition(t, key), string(key), bytes.Clone(rest)})
			return nil
		})
	}, s.reduceGroups)
}
