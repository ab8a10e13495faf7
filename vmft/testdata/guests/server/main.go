// Server is a service that clients can hold to its word: all that it answers is checked by
// whoever has asked before. What it does beside is said by its arguments (trouble.go).
//
//	PUT  /cell/NAME?by=ID
//	                  writes the body to a cell, and returns its new version and a random token
//	GET  /cell/NAME   returns version, token and value; a cell is at version 0 at first
//	POST /sum         the SHA-256 of the body, and its length
//	GET  /bytes/N     N bytes, which follow from their places
//	PUT  /file/NAME   writes the body to a file, or answers 507 if the disk is full
//	GET  /file/NAME   returns that
//	GET  /rounds      how often what was asked for by the arguments has been done
//
// Every write to a cell is printed, in a line with a number, and a tick now and then. At port 7 bytes come back changed by their
// places, until the client has ended its side; at port 9 they are thrown away, and at port 19
// more of them come than anybody wants.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	for _, name := range os.Args[1:] {
		start, ok := troubles[name]
		if !ok {
			fail(fmt.Errorf("there is no trouble %q", name))
		}
		start()
	}
	serve(7, echo)
	serve(9, func(c net.Conn) { io.Copy(io.Discard, c) })
	serve(19, generate)
	s := &service{cells: make(map[string]cell)}
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		fail(err)
	}
	say("listening")
	go func() {
		for range time.Tick(3 * time.Millisecond) {
			say("tick")
		}
	}()
	fail(http.Serve(l, s.handler()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "server:", err)
	os.Exit(1)
}

var said struct {
	sync.Mutex
	lines uint64
}

// say prints a line, with a number.
func say(what string) {
	said.Lock()
	defer said.Unlock()
	fmt.Println(said.lines, what)
	said.lines++
}

// rounds counts what has been done beside.
var rounds atomic.Int64

// A cell is a register that is never written without anybody noticing.
type cell struct {
	version uint64
	token   string
	value   []byte
}

type service struct {
	mu    sync.Mutex // guards cells
	cells map[string]cell
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /cell/{name}", s.put)
	mux.HandleFunc("GET /cell/{name}", s.get)
	mux.HandleFunc("POST /sum", sum)
	mux.HandleFunc("GET /bytes/{n}", sendBytes)
	mux.HandleFunc("PUT /file/{name}", putFile)
	mux.HandleFunc("GET /file/{name}", getFile)
	mux.HandleFunc("GET /rounds", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, rounds.Load()) })
	return mux
}

func (s *service) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(r.Body)
	if err != nil { // the client has gone
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var token [8]byte
	rand.Read(token[:])
	name := r.PathValue("name")
	s.mu.Lock()
	c := cell{s.cells[name].version + 1, fmt.Sprintf("%x", token), value}
	s.cells[name] = c
	s.mu.Unlock()
	say(fmt.Sprintf("%s %d %s by %s", name, c.version, c.token, r.URL.Query().Get("by")))
	fmt.Fprintf(w, "%d %s", c.version, c.token)
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	c := s.cells[r.PathValue("name")]
	s.mu.Unlock()
	fmt.Fprintf(w, "%d %s %s", c.version, c.token, c.value)
}

func sum(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%x %d", h.Sum(nil), n)
}

// placed fills b with what is at a place and after it.
func placed(b []byte, at int) {
	for i := range b {
		b[i] = byte((at+i)*31 + (at+i)>>8)
	}
}

func sendBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 0 {
		http.Error(w, "want a number", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	b := make([]byte, 16<<10)
	for at := 0; at < n; at += len(b) {
		b = b[:min(len(b), n-at)]
		placed(b, at)
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

const filesDir = "/tmp/files"

func putFile(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.MkdirAll(filesDir, 0o777)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := filepath.Join(filesDir, r.PathValue("name"))
	f, err := os.CreateTemp(filesDir, "new")
	if err == nil {
		_, err = f.Write(body)
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), name)
		} else {
			os.Remove(f.Name())
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func getFile(w http.ResponseWriter, r *http.Request) {
	b, err := os.ReadFile(filepath.Join(filesDir, r.PathValue("name")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "", zeroTime, bytes.NewReader(b))
}

// serve has f look after each connection to a port.
func serve(port int, f func(net.Conn)) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		fail(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				fail(err)
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
}

func echo(c net.Conn) {
	b := make([]byte, 8<<10)
	for at := 0; ; {
		n, err := c.Read(b)
		for i := range b[:n] {
			b[i] ^= byte((at+i)*7>>3) ^ byte(at+i)
		}
		at += n
		if _, werr := c.Write(b[:n]); werr != nil || err != nil {
			return
		}
	}
}

func generate(c net.Conn) {
	b := make([]byte, 8<<10)
	for at := 0; ; at += len(b) {
		placed(b, at)
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}
