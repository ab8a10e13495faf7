// Index prints the inverted index of files, with MapReduce: for each word the files in
// which it occurs, as the paper's section 2.3 has it:
//
//	go run ./examples/index -reduce 4 -output /tmp/index transport rpc
//
// Files, directories and patterns name the input. Map emits ⟨word, file⟩ for each word;
// a word's files come to Reduce in the order of the input, so that repetitions are
// neighbours and need no memory.
package main

import (
	"context"
	"flag"
	"io"
	"os"

	"github.com/trilith-go/trilith/examples/internal/jobs"
	"github.com/trilith-go/trilith/examples/internal/local"
)

func main() { os.Exit(run(local.Context(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return local.Program{Name: "index", Usage: "index [flags] FILE...", Define: func(f *flag.FlagSet) func([]string) error {
		var flags local.Flags
		flags.Define(f, 1)
		return func(args []string) error {
			if err := flags.Check(); err != nil {
				return err
			}
			if len(args) == 0 {
				return local.BadUsage("the files are missing")
			}
			return flags.Run(ctx, jobs.Index, nil, args, stdout, stderr)
		}
	}}.Run(args, stderr)
}
