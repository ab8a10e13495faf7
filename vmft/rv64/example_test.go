package rv64_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/trilith-go/trilith/vmft/rv64"
)

// hello is a program that writes a line and ends with status 3. One that is made with
// GOOS=linux GOARCH=riscv64 go build is loaded in the same way.
func hello() []byte {
	const base, text = 0x10000, "hello from riscv64\n"
	code := []uint32{
		0x00100513,                         // li   a0, 1
		0x00000597,                         // auipc a1, 0
		0x02058593,                         // addi a1, a1, 32: the text
		0x00000613 | uint32(len(text))<<20, // li   a2, the length
		0x04000893,                         // li   a7, write
		0x00000073,                         // ecall
		0x00300513,                         // li   a0, 3
		0x05e00893,                         // li   a7, exit_group
		0x00000073,                         // ecall
	}
	le := binary.LittleEndian
	elf := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	elf = le.AppendUint16(elf, 2)   // an executable
	elf = le.AppendUint16(elf, 243) // for RISC-V
	elf = le.AppendUint32(elf, 1)
	elf = le.AppendUint64(elf, base+120) // the entry
	elf = le.AppendUint64(elf, 64)       // where the program header is
	elf = append(elf, make([]byte, 12)...)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		elf = le.AppendUint16(elf, v)
	}
	elf = le.AppendUint32(elf, 1) // to be loaded
	elf = le.AppendUint32(elf, 5) // readable and executable
	size := uint64(120 + 4*len(code) + len(text))
	for _, v := range []uint64{0, base, base, size, size, 4096} {
		elf = le.AppendUint64(elf, v)
	}
	for _, w := range code {
		elf = le.AppendUint32(elf, w)
	}
	return append(elf, text...)
}

func ExampleLoad() {
	m, err := rv64.Load(hello(), rv64.Config{Args: []string{"hello"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Run(1_000_000)
	for {
		at, b, ok := m.NextOutput()
		if !ok {
			break
		}
		if o, err := rv64.ParseOutput(b); err == nil && o.Kind == rv64.OutputData {
			fmt.Printf("after %d instructions: %s", at, o.Data)
		}
	}
	status, exited := m.Exited()
	fmt.Println(status, exited, m.Position())
	// Output:
	// after 6 instructions: hello from riscv64
	// 3 true 9
}

func ExampleDrive() {
	m, err := rv64.Load(hello(), rv64.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := rv64.Drive(context.Background(), m, rv64.HostConfig{Stdout: os.Stdout})
	fmt.Println(status, err)
	// Output:
	// hello from riscv64
	// 3 <nil>
}

func ExampleMachine_Freeze() {
	m, err := rv64.Load(hello(), rv64.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Run(4)
	image, err := m.Freeze()
	if err != nil {
		fmt.Println(err)
		return
	}
	m.Run(100)
	var b bytes.Buffer
	if _, err := image.WriteTo(&b); err != nil {
		fmt.Println(err)
		return
	}
	again, err := rv64.NewFrom(&b, rv64.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("restored at", again.Position())
	again.Run(100)
	fmt.Println("equal in the end:", again.Hash() == m.Hash())
	// Output:
	// restored at 4
	// equal in the end: true
}

func ExampleNewReplayer() {
	m, err := rv64.Load(hello(), rv64.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var log bytes.Buffer
	rec, err := rv64.NewRecorder(m, &log, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	rec.Run(1_000_000)
	if err := rec.Close(); err != nil {
		fmt.Println(err)
		return
	}
	r, err := rv64.NewReplayer(&log, rv64.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	at, err := r.Run(5) // to look at it there
	fmt.Println(at, err, r.Machine().Registers().X[17])
	_, err = r.Run(1_000_000)
	fmt.Println(err, r.Done(), r.Machine().Hash() == m.Hash())
	// Output:
	// 5 <nil> 64
	// <nil> true true
}
