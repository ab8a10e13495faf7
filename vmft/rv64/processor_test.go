package rv64

import (
	"fmt"
	"testing"

	"github.com/trilith-go/trilith/vmft"
	"github.com/trilith-go/trilith/vmft/vmfttest"
)

var (
	_ vmft.Processor    = (*Machine)(nil)
	_ vmft.Transferable = (*Machine)(nil)
)

// The machine holds the contract of a free-running one, with a guest of many threads that
// is connected to and spoken to at any instruction.
func TestProcessor(t *testing.T) {
	for _, name := range []string{"serve", "stress"} {
		if testing.Short() && name == "stress" {
			continue
		}
		elf := guest(t, name)
		length, answered := uint64(10_000_000), 0
		if testing.Short() {
			length = 2_000_000
		}
		check := vmfttest.ProcessorCheck{
			New: func() vmft.Processor { return load(t, elf, Config{Args: []string{name}}) },
			Event: func(n int) []byte {
				conn := 1<<32 + uint64(n/4)
				switch n % 4 {
				case 0:
					return ConnectEvent(conn, 8080, [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}, 4711)
				case 1:
					return DataEvent(conn, fmt.Appendf(nil, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", n%70))
				case 2:
					return DataEvent(conn, make([]byte, (n-1)%70))
				default:
					return InputEvent([]byte("x"))
				}
			},
			Answer: func(out []byte) []byte {
				if o, err := ParseOutput(out); err == nil && o.Kind == OutputData && o.Conn >= firstConn {
					answered++
					return TakenEvent(o.Conn, len(o.Data))
				}
				return nil
			},
			Length: length,
			Seed:   7,
		}
		vmfttest.TestProcessor(t, check)
		check.Length /= 5
		vmfttest.TestTransferable(t, check)
		if name == "serve" && answered == 0 {
			t.Error("the guest has answered nobody")
		}
	}
}
