package rpc_test

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/trilith-go/trilith/rpc"
)

// A table decides about each request that arrives: here a call, the same call
// again while it runs and after it, and the same call once more when the client
// has said, by its watermark, that it has the result.
func ExampleSessions() {
	table, err := rpc.NewSessions(rpc.SessionsConfig{Table: [16]byte{0x2a}})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)
	id, err := table.Open(now)
	if err != nil {
		fmt.Println(err)
		return
	}
	request := func(seq, watermark, waiter uint64) {
		v := table.Begin(rpc.SessionCall{ID: id, Seq: seq, Watermark: watermark, Waiter: waiter}, now)
		switch v.Action {
		case rpc.SessionExecute:
			fmt.Println(seq, "execute")
		case rpc.SessionWait:
			fmt.Println(seq, "wait")
		case rpc.SessionReplay:
			fmt.Printf("%d replay %s\n", seq, v.Result)
		case rpc.SessionReject:
			fmt.Println(seq, v.Err)
		}
	}
	request(1, 1, 100)
	request(1, 1, 101)
	waiting, err := table.Complete(id, 1, []byte("done"), nil)
	fmt.Println("answer", waiting, err)
	request(1, 1, 102)
	request(2, 2, 103)
	request(1, 1, 104)
	// Output:
	// 1 execute
	// 1 wait
	// answer [101] <nil>
	// 1 replay done
	// 2 execute
	// 1 rpc: session sequence is below the watermark
}

// Within a state machine, the table and what it guards are one: Do is called
// from the machine's Apply, with the log's time.
func ExampleSessions_Do() {
	table, err := rpc.NewSessions(rpc.SessionsConfig{Table: [16]byte{0x2a}})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)
	id, err := table.Open(now)
	if err != nil {
		fmt.Println(err)
		return
	}
	balance := 100
	withdraw := func(dst []byte) []byte {
		balance -= 30
		return fmt.Appendf(dst, "balance %d", balance)
	}
	for range 3 { // the command is in the log three times
		out, err := table.Do(rpc.SessionCall{ID: id, Seq: 1, Watermark: 1}, now, nil, withdraw)
		fmt.Println(string(out), err)
	}
	// Output:
	// balance 70 <nil>
	// balance 70 <nil>
	// balance 70 <nil>
}

// account is a machine that knows nothing of sessions.
type account struct{ balance int }

func (a *account) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	a.balance -= len(cmd)
	return fmt.Appendf(dst, "balance %d", a.balance)
}

func (a *account) Freeze() (io.WriterTo, error) {
	return strings.NewReader(fmt.Sprint(a.balance)), nil
}

func (a *account) Restore(r io.Reader) error {
	_, err := fmt.Fscan(r, &a.balance)
	return err
}

func (a *account) Fingerprint() string { return "account/1" }

// A SessionMachine makes the commands of any machine executed once.
func ExampleSessionMachine() {
	machine, err := rpc.NewSessionMachine(&account{balance: 100}, rpc.SessionsConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)
	index := uint64(0)
	apply := func(cmd []byte) ([]byte, error) { // what the log does with a proposed command
		index++
		return rpc.ParseSessionOutput(machine.Apply(index, now, cmd, nil))
	}
	out, err := apply(rpc.AppendSessionOpen(nil, [16]byte{0x2a}))
	if err != nil {
		fmt.Println(err)
		return
	}
	var id rpc.SessionID
	if err := id.UnmarshalBinary(out); err != nil {
		fmt.Println(err)
		return
	}
	withdraw := []byte("one by one")
	call := rpc.SessionCall{ID: id, Seq: 1, Watermark: 1, Hash: rpc.SessionHash("withdraw", withdraw)}
	for range 2 {
		out, err = apply(rpc.AppendSessionCall(nil, call, withdraw))
		fmt.Println(string(out), err)
	}
	// Output:
	// balance 90 <nil>
	// balance 90 <nil>
}
