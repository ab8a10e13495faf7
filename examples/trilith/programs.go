package main

import (
	"flag"
	"strconv"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
	"github.com/trilith-go/trilith/mapreduce"
)

// programFlags are the flags of the job streaming.
type programFlags struct {
	text      map[string]*string // flags that are arguments of the job, by their names there
	fields    int
	partition int
	perFile   bool
	anyStatus bool
}

func (p *programFlags) define(f *flag.FlagSet) {
	p.text = make(map[string]*string)
	for _, t := range []struct{ name, arg, usage string }{
		{"mapper", mapreduce.CommandArgMapper, "streaming: the `program` that maps, with its arguments; quotes keep words together"},
		{"reducer", mapreduce.CommandArgReducer, "streaming: the `program` that reduces; NONE if what mappers write is the output"},
		{"combiner", mapreduce.CommandArgCombiner, "streaming: the `program` that combines lines of part of a map's output"},
		{"separator", mapreduce.CommandArgSeparator, "streaming: the `text` that ends a field of a line (default: a tab)"},
	} {
		p.text[t.arg] = f.String(t.name, "", t.usage)
	}
	f.IntVar(&p.fields, "key-fields", 0, "streaming: so many `fields` of a line are the key (default: 1)")
	f.IntVar(&p.partition, "partition-fields", 0, "streaming: so many `fields` of the key decide about the partition (default: all)")
	f.BoolVar(&p.perFile, "per-file", false, "streaming: run a mapper for each file")
	f.BoolVar(&p.anyStatus, "any-status", false, "streaming: no exit status of a program is a failure")
}

// take makes arguments of the job of the flags.
func (p *programFlags) take(args map[string]string, streaming bool) error {
	given := p.fields != 0 || p.partition != 0 || p.perFile || p.anyStatus
	for name, text := range p.text {
		if *text != "" {
			given = true
			args[name] = *text
		}
	}
	switch {
	case !streaming && given:
		return local.BadUsage("flags of the job %s are given, but another job", jobs.Streaming.Name)
	case !streaming:
		return nil
	case args[mapreduce.CommandArgMapper] == "":
		return local.BadUsage("job %s needs -mapper", jobs.Streaming.Name)
	case args[mapreduce.CommandArgReducer] == "":
		return local.BadUsage("job %s needs -reducer; NONE if what mappers write is the output", jobs.Streaming.Name)
	case p.fields < 0:
		return local.BadUsage("-key-fields is %d, it cannot be negative", p.fields)
	case p.partition < 0:
		return local.BadUsage("-partition-fields is %d, it cannot be negative", p.partition)
	}
	if p.fields > 0 {
		args[mapreduce.CommandArgKeyFields] = strconv.Itoa(p.fields)
	}
	if p.partition > 0 {
		args[mapreduce.CommandArgPartitionFields] = strconv.Itoa(p.partition)
	}
	if p.perFile {
		args[mapreduce.CommandArgPerFile] = "true"
	}
	if p.anyStatus {
		args[mapreduce.CommandArgExitIsFailure] = "false"
	}
	return nil
}
