package lint

import (
	"path"
	"slices"
	"strings"
)

// Rules are what a tree is held to.
type Rules struct {
	Layers []Layer

	// Dependencies are the modules that any code may need, TestDependencies those
	// that tests may need besides.
	Dependencies     []string
	TestDependencies []string
	// Forbidden are the packages that nobody imports.
	Forbidden map[string]Ban
	// Nested are the directories that have a go.mod of their own.
	Nested []string

	// Kits are the packages for tests whose names do not end in "test", as those of
	// all others do. A kit may use package testing and the terminal.
	Kits []string

	Cores []Core

	// Verbs are the main exported names of each package, by its directory; each
	// has an example. A method is written Type_Method, as godoc wants it.
	Verbs map[string][]string

	// Strangers is the one function, by directory and name, that returns the seeds that
	// all fuzz targets have in common.
	Strangers string

	// Sleeper is the one file that waits for the wall clock.
	Sleeper string
	// Pauses are the functions (by path:name; the path alone means the file's variables)
	// that sleep all the same, each with the reason.
	Pauses map[string]string
	// Bubble is the one function, by directory and name, that makes synctest bubbles.
	Bubble string

	// FileLines, TestFileLines and FunctionLines are the most lines that a file, a
	// test file and a function outside tests may have.
	FileLines     int
	TestFileLines int
	FunctionLines int
	// Long are the files (by path) and functions (by path:name) that may be longer,
	// each with the reason.
	Long map[string]string
}

// A Layer says what the packages in a directory and below it may import of the
// module, apart from one another.
type Layer struct {
	Dir     string
	Imports []string // directories of other layers
	Tests   []string // those that tests and test kits may import too
}

// A Ban forbids an import.
type Ban struct {
	Why    string
	Except []string // directories
	Tests  bool     // tests may
}

// A Core names files that must be deterministic: what they do depends on their
// arguments alone.
type Core struct {
	Files  string   // a pattern as of path.Match, relative to the root
	Except []string // files that it matches but does not mean
	Seeded string   // why it may draw random numbers from a seed, if it may
}

// kit reports whether a file belongs to a package that only tests use.
func (r *Rules) kit(f *File) bool {
	return slices.Contains(r.Kits, f.Dir) || (f.Dir != "." && strings.HasSuffix(path.Base(f.Dir), "test"))
}

// Trilith are the rules of this module.
var Trilith = Rules{
	// transport knows no message, rpc knows no system, a system knows no other
	// system, and what is internal knows nothing of who uses it. Where two systems
	// meet, the user of a service declares an interface and a program joins them.
	Layers: []Layer{
		{Dir: "internal"},
		{Dir: "transport", Tests: []string{"internal"}},
		{Dir: "rpc", Imports: []string{"transport", "internal"}},
		{Dir: "mapreduce", Imports: []string{"rpc", "transport", "internal"}},
		{Dir: "gfs", Imports: []string{"rpc", "transport", "internal"}},
		{Dir: "vmft", Imports: []string{"rpc", "transport", "internal"}},
		{Dir: "examples", Imports: []string{"mapreduce", "gfs", "vmft", "rpc", "transport", "internal"}},
		{Dir: ".", Tests: []string{"examples", "mapreduce", "gfs", "vmft", "rpc", "transport", "internal"}},
	},

	Dependencies: []string{
		"github.com/hashicorp/go-hclog",
		"golang.org/x/sync",
	},
	TestDependencies: []string{
		"github.com/anishathalye/porcupine",
		"go.uber.org/goleak",
		"golang.org/x/net",
	},
	Forbidden: map[string]Ban{
		"encoding/gob": {Why: "it is not hardened against hostile input; lay the bytes out by hand with internal/wire"},
		"net/rpc":      {Why: "it is what we are measured against", Except: []string{"examples/bench"}},
		"math/rand":    {Why: "use math/rand/v2"},
		"io/ioutil":    {Why: "use io and os"},
	},

	Kits: []string{"internal/sim", "internal/testutil"},

	Cores: []Core{
		{Files: "gfs/balance.go"},
		{Files: "gfs/btree*.go"},
		{Files: "gfs/chunks.go"},
		{Files: "gfs/coder.go"},
		{Files: "gfs/collect.go"},
		{Files: "gfs/compare.go"},
		{Files: "gfs/distance.go"},
		{Files: "gfs/fleet*.go"},
		{Files: "gfs/garbage.go"},
		{Files: "gfs/grant.go"},
		{Files: "gfs/lease.go"},
		{Files: "gfs/metadata*.go"},
		{Files: "gfs/namespace*.go"},
		{Files: "gfs/paths.go"},
		{Files: "gfs/permissions.go"},
		{Files: "gfs/placement.go"},
		{Files: "gfs/policy.go"},
		{Files: "gfs/primary.go"},
		{Files: "gfs/record_format.go"},
		{Files: "gfs/repair*.go"},
		{Files: "gfs/replicas.go"},
		{Files: "gfs/secondary.go"},
		{Files: "gfs/snapshot.go"},
		{Files: "gfs/state_*.go"},
		{Files: "internal/journal/format.go"},
		{Files: "internal/journal/scan.go"},
		{Files: "internal/sim/*.go", Except: []string{"internal/sim/run.go"}, Seeded: "chance is what it simulates"},
		{Files: "internal/statelog/clock.go"},
		{Files: "internal/statelog/gate.go"},
		{Files: "internal/statelog/record.go"},
		{Files: "internal/wire/*.go"},
		{Files: "mapreduce/attempt.go"},
		{Files: "mapreduce/hash.go"},
		{Files: "mapreduce/merge.go"},
		{Files: "mapreduce/packing.go"},
		{Files: "mapreduce/pairs.go"},
		{Files: "mapreduce/region.go"},
		{Files: "mapreduce/schedule*.go"},
		{Files: "mapreduce/sort.go"},
		{Files: "mapreduce/spec.go"},
		{Files: "mapreduce/streaming_lines.go"},
		{Files: "mapreduce/tasks*.go"},
		{Files: "rpc/codec.go"},
		{Files: "rpc/frame.go"},
		{Files: "rpc/sessions*.go"},
		{Files: "transport/distribution.go"},
		{Files: "transport/links.go"},
		{Files: "transport/matrix.go"},
		{Files: "vmft/backlog.go"},
		{Files: "vmft/backup.go"},
		{Files: "vmft/clock.go"},
		{Files: "vmft/epoch.go"},
		{Files: "vmft/frame.go"},
		{Files: "vmft/free*.go"},
		{Files: "vmft/gate.go"},
		{Files: "vmft/machine.go"},
		{Files: "vmft/pace.go"},
		{Files: "vmft/primary.go"},
		{Files: "vmft/processor.go"},
		{Files: "vmft/pulse.go"},
		{Files: "vmft/stream_desk.go"},
		{Files: "vmft/stream_entry.go"},
		{Files: "vmft/stream_half.go"},
		{Files: "vmft/stream_machine.go"},
		{Files: "vmft/stream_table.go"},
		{Files: "vmft/stream_talk.go"},
		{Files: "vmft/stream_transfer.go"},
		{Files: "vmft/transfer.go"},
		{Files: "vmft/rv64/areas.go"},
		{Files: "vmft/rv64/block.go"},
		{Files: "vmft/rv64/compressed.go"},
		{Files: "vmft/rv64/decode.go"},
		{Files: "vmft/rv64/delta*.go"},
		{Files: "vmft/rv64/digest.go"},
		{Files: "vmft/rv64/elf.go"},
		{Files: "vmft/rv64/engine.go"},
		{Files: "vmft/rv64/events.go"},
		{Files: "vmft/rv64/float*.go"},
		{Files: "vmft/rv64/fuse*.go"},
		{Files: "vmft/rv64/linux*.go"},
		{Files: "vmft/rv64/memory*.go"},
		{Files: "vmft/rv64/network.go"},
		{Files: "vmft/rv64/ops.go"},
		{Files: "vmft/rv64/order_*.go"},
		{Files: "vmft/rv64/quick.go"},
		{Files: "vmft/rv64/run_*.go"},
		{Files: "vmft/rv64/step*.go"},
		{Files: "vmft/rv64/testenv.go"},
		{Files: "vmft/shareddisk/order.go"},
		{Files: "vmft/shareddisk/version.go"},
	},

	Verbs: map[string][]string{
		"gfs":                     {"Client", "Client_Append", "Client_FS", "Client_Snapshot", "Client_Undelete", "NewRecordReader", "StartMaster"},
		"gfs/gfstest":             {"Start"},
		"mapreduce":               {"Command", "MapOnly", "NamedOutput", "Run", "RunSequential", "StartCoordinator", "Task_Create"},
		"mapreduce/mapreducetest": {"Test", "Run", "CheckCombiner", "CheckInput", "CheckCodec", "CheckPartition", "FileSystemCases"},
		"rpc": {
			"Body", "Call", "CallInto", "Client_AtLeastOnce", "Client_ExactlyOnce", "Error", "Guard", "Handle", "HandleInline", "HandleStream",
			"NewSessionTable", "OpenStream", "RedirectTo", "Server_Shutdown", "SessionMachine", "Sessions",
		},
		"rpc/rpctest":             {"New"},
		"vmft/rv64":               {"Drive", "Load", "Machine_Freeze", "NewReplayer"},
		"transport":               {"Host_Crash", "Network", "PacketTransport", "TCP", "TLS", "Transport"},
		"transport/transporttest": {"Cases", "Test"},
		"vmft":                    {"Node_Port", "Record", "Start"},
		"vmft/shareddisk":         {"Open"},
		"vmft/vmfttest":           {"CheckMachine", "CheckProcessor", "CheckTransferable"},
	},

	Strangers: "internal/testutil/Strangers",

	Sleeper: "internal/testutil/poll.go",
	Pauses: map[string]string{
		"examples/terasort/process_test.go:torment":     "kills processes at the pace that a flag says",
		"examples/trilith/gfs_kill_test.go:storm":       "kills processes at a pace, for as long as a flag says",
		"transport/transporttest/planted_test.go":       "bugs that are planted, in bubbles",
		"transport/transporttest/streams.go:giveItTime": "waits for what must not happen, and so cannot tell when it has not; in a bubble it costs nothing",
		"vmft/example_test.go:ExampleStart":             "shows how to wait with public packages alone",
		"vmft/rv64/nodes_test.go:Run":                   "is a processor, which takes its time for what it does",
	},
	Bubble: "internal/testutil/Bubble",

	FileLines:     500,
	TestFileLines: 800,
	FunctionLines: 70,
	Long: map[string]string{
		"vmft/rv64/run_table.go":                "it is that one function",
		"vmft/rv64/run_table.go:executeByTable": "one switch over all operations, so that the compiler makes one jump table and keeps the state in registers",
		"vmft/rv64/run_tree.go":                 "it is that one function",
		"vmft/rv64/run_tree.go:executeByTree":   "one tree of comparisons over all operations, so that the compiler keeps the state in registers",
	},
}
