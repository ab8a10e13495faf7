package sim_test

import (
	"fmt"
	"time"

	"github.com/trilith-go/trilith/internal/sim"
)

// message is what the nodes of the example send: the client asks for the
// number to be written down, the server says that it is.
type message struct {
	number uint64
}

// server keeps the numbers it is sent in a log.
type server struct {
	node    *sim.Node[message]
	log     *sim.Log[uint64]
	waiting map[int64]int // log position → who is told when it is safe
	hasty   bool          // the bug: tell at once
}

func (s *server) Receive(from int, m message) {
	position := s.log.Append(m.number)
	if s.hasty {
		s.node.Send(from, m)
		return
	}
	s.waiting[position] = from
	s.log.Sync(uint64(position))
}

func (s *server) Timer(position uint64) { // the log is safe up to position
	number := s.log.Records()[position]
	s.node.Send(s.waiting[int64(position)], message{number})
	delete(s.waiting, int64(position))
}

// client sends one number after the other, each until it is told.
type client struct {
	node   *sim.Node[message]
	server int
	told   uint64
}

const last = 50

func (c *client) Receive(_ int, m message) {
	if m.number == c.told+1 {
		c.told++
		c.send()
	}
}

func (c *client) Timer(number uint64) {
	if number == c.told+1 {
		c.send()
	}
}

func (c *client) send() {
	if c.told < last {
		c.node.Send(c.server, message{c.told + 1})
		c.node.After(100*time.Millisecond, c.told+1)
	}
}

// cluster builds a server and a client. What the client was told must be in the
// server's log, whatever happens.
func cluster(hasty bool) func(w *sim.World[message]) {
	return func(w *sim.World[message]) {
		s := w.Add("server", func(n *sim.Node[message]) sim.Process[message] {
			return &server{n, sim.OpenLog[uint64](n, "numbers"), map[int64]int{}, hasty}
		})
		c := &client{server: s.ID()}
		w.AddImmortal("client", func(n *sim.Node[message]) sim.Process[message] {
			c.node = n
			n.After(0, 1)
			return c
		})
		w.Invariant(func() error {
			written := uint64(0)
			for _, number := range sim.OpenLog[uint64](s, "numbers").Records() {
				written = max(written, number)
			}
			if written < c.told {
				return fmt.Errorf("the client was told of %d, the log has %d", c.told, written)
			}
			return nil
		})
		w.Done(func() bool { return c.told == last })
	}
}

func Example() {
	config := sim.Config{
		Faults: sim.Faults{Loss: 0.3, Duplicate: 0.3, Straggle: 0.1, CrashEvery: 100 * time.Millisecond},
	}
	failure, stats := sim.Search(500, config, cluster(false))
	fmt.Println("correct server:", failure, stats.Crashes > 500 && stats.Erased > 10)

	failure, _ = sim.Search(500, config, cluster(true))
	fmt.Println("hasty server caught:", failure != nil)

	// The failure's seed gives the failure again, to be stepped through.
	again, err := sim.New[message](failure.Seed, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	cluster(true)(again)
	for again.Step() {
	}
	fmt.Println("repeated:", again.Steps() == failure.Step)
	// Output:
	// correct server: <nil> true
	// hasty server caught: true
	// repeated: true
}
