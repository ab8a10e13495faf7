// Kernels are the small programs that the suite rv64 measures, built for riscv64 and
// for the host from this one source:
//
//	kernels NAME N
//	kernels wait N NAME
//
// does the work N times, with a line before and one after. The one called disk wants a shared
// disk, which the suite ftvm has.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
)

var kernels = map[string]func() uint64{
	"fib": func() uint64 { return fib(30) }, "sort": sortInts, "sha256": hash, "json": documents, "map": maps, "matmul": matmul, "disk": transact,
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: kernels NAME N")
		os.Exit(2)
	}
	n, _ := strconv.Atoi(os.Args[2])
	switch os.Args[1] {
	case "serve":
		serve(n)
	case "fill":
		fill(n)
	}
	name := os.Args[1]
	if name == "wait" && len(os.Args) > 3 { // for a line, and only then begins
		bufio.NewReader(os.Stdin).ReadString('\n')
		name = os.Args[3]
	}
	f := kernels[name]
	if f == nil {
		fmt.Fprintln(os.Stderr, "no such kernel")
		os.Exit(2)
	}
	f()
	fmt.Println("begin")
	sum := uint64(0)
	for range n {
		sum += f()
	}
	fmt.Println("end", sum)
}

// serve answers requests on a port.
func serve(port int) {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello,", r.URL.Path) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+strconv.Itoa(port), nil))
	os.Exit(1)
}

// fill writes to so many MiB, again and again.
func fill(mib int) {
	b := make([]byte, mib<<20)
	for round := byte(1); ; round++ {
		for i := 0; i < len(b); i += 512 {
			b[i] += round
		}
		if round == 1 {
			fmt.Println("begin")
		}
	}
}

func fib(n int) uint64 {
	if n < 2 {
		return uint64(n)
	}
	return fib(n-1) + fib(n-2)
}

func sortInts() uint64 {
	rng := rand.New(rand.NewPCG(1, 2))
	list := make([]int, 50_000)
	for i := range list {
		list[i] = int(rng.Uint32())
	}
	slices.Sort(list)
	return uint64(list[len(list)/2])
}

var roundConstants = func() (k [64]uint32) {
	n := 0
	for p := 2; n < 64; p++ {
		prime := true
		for q := 2; q*q <= p; q++ {
			prime = prime && p%q != 0
		}
		if prime {
			// The first 32 bits of the fraction of the cube root, by Newton's method.
			x := float64(p)
			for range 50 {
				x -= (x*x*x - float64(p)) / (3 * x * x)
			}
			k[n] = uint32((x - float64(int(x))) * (1 << 32))
			n++
		}
	}
	return k
}()

// hash is SHA-256 without the help of any instruction made for it.
func hash() uint64 {
	h := [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
	var w [64]uint32
	for block := range 16384 {
		for i := range 16 {
			w[i] = uint32(block*16+i) * 2654435761
		}
		for i := 16; i < 64; i++ {
			s0 := bits.RotateLeft32(w[i-15], -7) ^ bits.RotateLeft32(w[i-15], -18) ^ w[i-15]>>3
			s1 := bits.RotateLeft32(w[i-2], -17) ^ bits.RotateLeft32(w[i-2], -19) ^ w[i-2]>>10
			w[i] = w[i-16] + s0 + w[i-7] + s1
		}
		a, b, c, d, e, f, g, x := h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
		for i := range 64 {
			t1 := x + (bits.RotateLeft32(e, -6) ^ bits.RotateLeft32(e, -11) ^ bits.RotateLeft32(e, -25)) + (e&f ^ ^e&g) + roundConstants[i] + w[i]
			t2 := (bits.RotateLeft32(a, -2) ^ bits.RotateLeft32(a, -13) ^ bits.RotateLeft32(a, -22)) + (a&b ^ a&c ^ b&c)
			x, g, f, e, d, c, b, a = g, f, e, d+t1, c, b, a, t1+t2
		}
		for i, v := range [8]uint32{a, b, c, d, e, f, g, x} {
			h[i] += v
		}
	}
	return uint64(h[0])
}

type document struct {
	ID    int               `json:"id"`
	Name  string            `json:"name"`
	Tags  []string          `json:"tags"`
	Score float64           `json:"score"`
	Attrs map[string]string `json:"attrs"`
}

func documents() uint64 {
	total := 0
	for i := range 400 {
		in := document{i, "document " + strconv.Itoa(i), []string{"a", "bb", "ccc"}, float64(i) * 1.25, map[string]string{"k": "v", "x": "y"}}
		b, err := json.Marshal(in)
		var out document
		if err == nil {
			err = json.Unmarshal(b, &out)
		}
		if err != nil || out.ID != i {
			os.Exit(1)
		}
		total += len(b)
	}
	return uint64(total)
}

func maps() uint64 {
	m := make(map[uint64]uint64)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		m[rng.Uint64N(30_000)]++
	}
	sum := uint64(0)
	for i := range uint64(30_000) {
		sum += m[i] * i
	}
	return sum
}

func matmul() uint64 {
	const n = 120
	var a, b, c [n][n]float64
	for i := range n {
		for j := range n {
			a[i][j], b[i][j] = float64(i*j%7)+0.3, float64(i+j)/3
		}
	}
	for i := range n {
		for j := range n {
			s := 0.0
			for k := range n {
				s += a[i][k] * b[k][j]
			}
			c[i][j] = s
		}
	}
	return uint64(c[n/2][n/3])
}
