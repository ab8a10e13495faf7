//lint:bubble
package vmft_test

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/trilith-go/trilith/transport"
)

// tallied is what a client asked of a counter, and what came of it.
type tallied struct {
	name  string
	read  bool
	value uint64
	lost  bool // no answer came: a call may have been executed, or may be yet
}

// counters is how a group of counters behaves, seen from outside.
var counters = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[string][]porcupine.Operation)
		var out [][]porcupine.Operation
		for _, op := range history {
			name := op.Input.(tallied).name
			parts[name] = append(parts[name], op)
		}
		for _, part := range parts {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		n, in, out := state.(uint64), input.(tallied), output.(tallied)
		if in.read {
			return out.lost || out.value == n, n
		}
		return out.lost || out.value == n+1, n + 1
	},
}

// latency gives every link between nodes a delay of a few milliseconds: what is on its way
// when a node dies is lost.
func (g *group) latency() {
	for i := range g.nodes {
		for j := range g.nodes {
			if i != j {
				g.network.SetLink(fmt.Sprintf("node%d", i), fmt.Sprintf("node%d", j), transport.Link{Latency: transport.Uniform(0, 5*time.Millisecond)})
			}
		}
	}
}
