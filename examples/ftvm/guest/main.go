// Guest is the program that the example keeps alive when it is given none: an HTTP server
// that knows nothing of being fault-tolerant. It keeps all that it has in memory: a counter,
// keys with values, and what its own goroutines and timers do beside. With DATA, a directory,
// in its environment, it answers a change of a counter or a key only when that is in a file
// there, and synced; started again, it goes on from that.
//
//	GET  /              a page that ticks
//	GET  /status        what the page shows, as JSON
//	POST /count         adds one to the page's counter, and returns it
//	POST /count/NAME    adds one to another counter, and returns that
//	GET  /kv/KEY        the value of a key
//	PUT  /kv/KEY        sets it, and returns the number of the write
//	GET  /bytes/N       N bytes, which follow from their places
//	POST /sum           the SHA-256 of the body, and its length
//	GET  /spin/N        N rounds of work before the answer
package main

import (
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

//go:embed page.html
var page []byte

// A service is the state.
type service struct {
	id    string // random
	began time.Time

	mu     sync.Mutex        // guards what follows
	counts map[string]uint64 // the page's is ""
	writes uint64
	keys   map[string]string
	ticks  uint64
	mixed  uint64 // by goroutines that do nothing but work now and then

	data *journal // nil: there is none
}

func main() {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
	s := &service{id: hex.EncodeToString(id[:]), began: time.Now(), counts: make(map[string]uint64), keys: make(map[string]string)}
	if dir := os.Getenv("DATA"); dir != "" {
		if err := s.recover(dir); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		fmt.Println("the guest has", len(s.counts), "counters and", len(s.keys), "keys of before")
	}
	go s.tick()
	for i := range uint64(4) {
		go s.mix(i)
	}
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
	fmt.Println("the guest", s.id, "listens on port 8080")
	fmt.Println("the guest ends:", http.Serve(l, s.handler()))
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /count", s.count)
	mux.HandleFunc("POST /count/{name}", s.count)
	mux.HandleFunc("GET /kv/{key}", s.get)
	mux.HandleFunc("PUT /kv/{key}", s.put)
	mux.HandleFunc("GET /bytes/{n}", sendBytes)
	mux.HandleFunc("POST /sum", sum)
	mux.HandleFunc("GET /spin/{n}", spin)
	return mux
}

// tick lets time show.
func (s *service) tick() {
	for range time.Tick(100 * time.Millisecond) {
		s.mu.Lock()
		s.ticks++
		s.mu.Unlock()
	}
}

// mix works a little, and sleeps for a random while.
func (s *service) mix(n uint64) {
	var b [1]byte
	for {
		rand.Read(b[:])
		time.Sleep(20*time.Millisecond + time.Duration(b[0])*time.Millisecond/4)
		s.mu.Lock()
		for range 1000 {
			n = n*6364136223846793005 + 1442695040888963407
		}
		s.mixed ^= n
		s.mu.Unlock()
	}
}

func (s *service) status(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	answer := map[string]any{
		"id": s.id, "uptime": time.Since(s.began).Seconds(), "count": s.counts[""], "writes": s.writes, "keys": len(s.keys),
		"ticks": s.ticks, "mixed": fmt.Sprintf("%016x", s.mixed),
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

func (s *service) count(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	if _, ok := s.counts[name]; !ok && len(s.counts) >= maxKeys {
		http.Error(w, "too many counters", http.StatusInsufficientStorage)
		return
	}
	if err := s.data.note(entry{Name: name, Count: s.counts[name] + 1}); err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	s.counts[name]++
	fmt.Fprintln(w, s.counts[name])
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	v, ok := s.keys[r.PathValue("key")]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	io.WriteString(w, v)
}

// The most that the guest keeps of keys.
const maxKeys, maxValue = 100_000, 64 << 10

func (s *service) put(w http.ResponseWriter, r *http.Request) {
	v, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.keys[r.PathValue("key")]; !ok && len(s.keys) >= maxKeys {
		http.Error(w, "too many keys", http.StatusInsufficientStorage)
		return
	}
	if err := s.data.note(entry{Name: r.PathValue("key"), Value: v, Writes: s.writes + 1}); err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	s.keys[r.PathValue("key")] = string(v)
	s.writes++
	fmt.Fprintln(w, s.writes)
}

// number reads a number out of the path, of at most a limit.
func number(w http.ResponseWriter, r *http.Request, limit int) (int, bool) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 0 || n > limit {
		http.Error(w, fmt.Sprintf("want a number from 0 to %d", limit), http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, 1<<30)
	if !ok {
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	b := make([]byte, 32<<10)
	for at := 0; at < n; at += len(b) {
		b = b[:min(len(b), n-at)]
		for i := range b {
			b[i] = byte((at+i)*31 + (at+i)>>8)
		}
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%x %d\n", h.Sum(nil), n)
}

func spin(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, 1<<30)
	if !ok {
		return
	}
	x := uint64(n)
	for range n {
		x = x*6364136223846793005 + 1442695040888963407
	}
	fmt.Fprintln(w, x)
}
