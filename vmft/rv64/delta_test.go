package rv64

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// take returns a machine's delta, written when it has gone on for a while.
func take(t *testing.T, m *Machine, further uint64) []byte {
	t.Helper()
	d, err := m.Delta()
	if err != nil {
		t.Fatal(err)
	}
	m.Run(m.Position() + further)
	var b bytes.Buffer
	if n, err := d.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatal(n, err)
	}
	return b.Bytes()
}

// A machine that is given the deltas of another is the same at each, whatever happens between
// them: programs that start others, files that grow, images that are taken, and roles that
// change. It goes on as the other would have.
func TestDelta(t *testing.T) {
	const deltas = 25
	for _, c := range []struct {
		guest string
		args  []string
	}{{"stress", nil}, {"serve", nil}, {"files", nil}, {"process", nil}} {
		for seed := range uint64(3) {
			if c.guest != "process" && (testing.Short() || seed == 0) {
				continue
			}
			rng := rand.New(rand.NewPCG(seed, 12))
			elf := guest(t, c.guest)
			a, b := load(t, elf, Config{Args: []string{c.guest}}), load(t, elf, Config{Args: []string{c.guest}, Seed: [32]byte{9}})
			if seed == 1 { // from an image
				a.Run(1 + rng.Uint64N(500_000))
				_ = take(t, a, 0) // the next one follows this
				image, err := a.Freeze()
				if err != nil {
					t.Fatal(err)
				}
				var w bytes.Buffer
				if _, err := image.WriteTo(&w); err != nil {
					t.Fatal(err)
				}
				if err := b.Restore(&w); err != nil {
					t.Fatal(err)
				}
			}
			if seed == 2 {
				a.many = 30
			}
			events := 0
			sizes := 0
			for i := range deltas {
				a.Run(a.Position() + 1 + rng.Uint64N(150_000))
				if wake, idle := a.Idle(); idle && wake > 0 {
					_ = a.Inject(a.Skip(wake))
				}
				if c.guest == "serve" && rng.IntN(2) == 0 {
					conn := 1<<32 + uint64(events/3)
					for _, e := range [][]byte{
						ConnectEvent(conn, 8080, [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}, 4711),
						DataEvent(conn, fmt.Appendf(nil, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 70\r\n\r\n")), DataEvent(conn, make([]byte, 70)),
					}[events%3:][:1] {
						if err := a.Inject(e); err != nil {
							t.Fatal(err)
						}
						events++
					}
				}
				if rng.IntN(5) == 0 {
					if _, err := a.Freeze(); err != nil {
						t.Fatal(err)
					}
				}
				want, at := a.Hash(), a.Position()
				d := take(t, a, rng.Uint64N(2)*500)
				sizes += len(d)
				if err := b.ApplyDelta(d); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if b.Position() != at || b.Hash() != want || b.Resident() == 0 {
					t.Fatalf("seed %d: delta %d of %d bytes makes another state at %d, of %d", seed, i, len(d), b.Position(), at)
				}
				if rng.IntN(10) == 0 { // b is the primary from here on, and a has gone
					a, b = b, load(t, elf, Config{Args: []string{c.guest}})
					_ = take(t, a, 0)
					image, err := a.Freeze()
					if err != nil {
						t.Fatal(err)
					}
					var w bytes.Buffer
					if _, err := image.WriteTo(&w); err != nil {
						t.Fatal(err)
					}
					if err := b.Restore(&w); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%s, seed %d: %d bytes in %d deltas", c.guest, seed, sizes, deltas)
		}
	}
}
