// Serve is an HTTP server that counts its requests, and ends when it is asked to.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	var mu sync.Mutex
	requests := 0
	server := &http.Server{Addr: ":8080"}
	http.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		mu.Lock()
		requests++
		k := requests
		mu.Unlock()
		fmt.Fprintf(w, "request %d: %d bytes, %x, %v\n", k, n, h.Sum(nil), err)
	})
	http.HandleFunc("GET /big", func(w http.ResponseWriter, r *http.Request) {
		line := make([]byte, 1000)
		for i := range 2000 {
			for j := range line {
				line[j] = byte('a' + (i+j)%26)
			}
			w.Write(line)
		}
	})
	done := make(chan bool)
	http.HandleFunc("GET /end", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "bye")
		close(done)
	})
	go func() {
		<-done
		server.Shutdown(context.Background())
	}()
	fmt.Println("listening")
	err := server.ListenAndServe()
	fmt.Println(requests, "requests,", err)
	if len(os.Args) > 1 {
		fmt.Println(os.Args[1:])
	}
}
