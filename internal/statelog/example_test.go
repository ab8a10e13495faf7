package statelog_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/vfs"
)

// counter is a machine that adds up what it is given.
type counter struct{ sum uint64 }

func (c *counter) Apply(_ uint64, _ time.Time, cmd, dst []byte) []byte {
	n, _ := binary.Uvarint(cmd)
	c.sum += n
	return binary.AppendUvarint(dst, c.sum)
}

func (c *counter) Freeze() (io.WriterTo, error) { return sum(c.sum), nil }

func (c *counter) Restore(r io.Reader) error {
	return binary.Read(r, binary.LittleEndian, &c.sum)
}

func (c *counter) Fingerprint() string { return "counter/1" }

// sum is an image of a counter.
type sum uint64

func (s sum) WriteTo(w io.Writer) (int64, error) {
	return 8, binary.Write(w, binary.LittleEndian, uint64(s))
}

func Example() {
	disk := vfs.NewMemory(1)
	ctx := context.Background()
	for range 2 {
		log, err := statelog.Open(statelog.Config{Machine: new(counter), FS: disk, Dir: "counter"})
		if err != nil {
			fmt.Println(err)
			return
		}
		_, epoch, _ := log.Lead(ctx)
		fmt.Println("epoch", epoch)
		for _, n := range []uint64{1, 10, 100} {
			_, out, err := log.Propose(ctx, binary.AppendUvarint(nil, n))
			total, _ := binary.Uvarint(out)
			fmt.Println(total, err)
		}
		disk = disk.Crash() // the power fails; what was answered is safe
		_ = log.Close()
	}
	// Output:
	// epoch 1
	// 1 <nil>
	// 11 <nil>
	// 111 <nil>
	// epoch 2
	// 112 <nil>
	// 122 <nil>
	// 222 <nil>
}

// A read is confirmed before it is answered: what it saw may not be safe yet.
func ExampleSolo_Confirm() {
	ctx := context.Background()
	machine := statelogtest.NewBook()
	log, err := statelog.Open(statelog.Config{Machine: machine}) // in memory
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	index, _, err := log.Propose(ctx, []byte("a command"))
	fmt.Println("proposed:", index, err)

	seen := len(machine.Entries()) // under the machine's own lock
	index, err = log.Confirm(ctx)
	fmt.Println("seen:", seen, "confirmed:", index, err)
	// Output:
	// proposed: 1 <nil>
	// seen: 1 confirmed: 1 <nil>
}
