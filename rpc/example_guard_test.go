package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/trilith-go/trilith/rpc"
	"github.com/trilith-go/trilith/transport"
)

// Vote is a message that names a candidate, Votes the answer to it.
type Vote struct{ Candidate string }

// Votes says how many votes a candidate has.
type Votes struct{ N int }

// A ballot is a machine: its state depends on the commands of a log and on nothing else.
type ballot struct{ votes map[string]int }

// Apply counts a vote; the command is a candidate's name.
func (b *ballot) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	b.votes[string(cmd)]++
	return fmt.Append(dst, b.votes[string(cmd)])
}

func (b *ballot) Freeze() (io.WriterTo, error) {
	image, err := json.Marshal(b.votes)
	return strings.NewReader(string(image)), err
}

func (b *ballot) Restore(r io.Reader) error {
	b.votes = nil
	return json.NewDecoder(r).Decode(&b.votes)
}

func (b *ballot) Fingerprint() string { return "ballot 1" }

// A memoryLog is the least that is an rpc.Log: it applies what is proposed at once, and
// keeps nothing. One that survives its process, or its machine, is a *vmft.Node.
type memoryLog struct {
	mu      sync.Mutex // guards what follows
	machine rpc.CommandMachine
	index   uint64
}

func (l *memoryLog) Lead(ctx context.Context) (term context.Context, epoch uint64, err error) {
	return ctx, 1, ctx.Err() // nobody else does
}

func (l *memoryLog) Propose(_ context.Context, cmd []byte) (index uint64, out []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	return l.index, l.machine.Apply(l.index, time.Now(), cmd, nil), nil
}

func (l *memoryLog) Confirm(context.Context) (index uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index, nil
}

// A Guard is for handlers whose effect is a command in a log: there the table is a part
// of the machine that the log drives. Here the reply to the first attempt is lost, so the
// handler runs twice and the command is proposed twice; it is executed once.
func ExampleGuard() {
	ctx := context.Background()
	machine, err := rpc.NewSessionMachine(&ballot{make(map[string]int)}, rpc.SessionsConfig{})
	if err != nil {
		log.Fatal(err)
	}
	guard := rpc.NewGuard(&memoryLog{machine: machine})
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer network.Close()

	server, err := rpc.NewServer(rpc.ServerConfig{Sessions: guard})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rpc.Handle(server, "Vote", func(ctx context.Context, req *Vote) (*Votes, error) {
		_, out, err := guard.Propose(ctx, []byte(req.Candidate))
		if err != nil {
			return nil, err // as it is: it says what clients may do
		}
		resp := new(Votes)
		_, err = fmt.Sscan(string(out), &resp.N)
		return resp, err
	})
	if _, err := server.Listen(ctx, network.Host("server"), ":7101"); err != nil {
		log.Fatal(err)
	}

	lossy := func(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
		err := next(ctx)
		if inv.Method == "Vote" && inv.Attempt == 1 {
			return errors.New("the reply is lost")
		}
		return err
	}
	client, err := rpc.NewClient(rpc.ClientConfig{
		Transport:    network.Host("client"),
		Addrs:        []string{"server:7101"},
		Interceptors: []rpc.ClientInterceptor{lossy},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	votes, err := rpc.Call[Votes](ctx, client.ExactlyOnce(), "Vote", &Vote{"gopher"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("votes:", votes.N, "retries:", client.Stats().Retries)
	// Output: votes: 1 retries: 1
}
