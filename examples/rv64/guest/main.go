// Guest is the program that the example serves when it is given none: an HTTP server
// that keeps a count for each name.
package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

func main() {
	var mu sync.Mutex
	counts := make(map[string]int)
	server := &http.Server{Addr: ":8080"}
	http.HandleFunc("/count/{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		counts[r.PathValue("name")]++
		fmt.Fprintf(w, "%s: %d\n", r.PathValue("name"), counts[r.PathValue("name")])
	})
	ended := make(chan bool)
	http.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "bye")
		close(ended)
	})
	go func() {
		<-ended
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
	}()
	fmt.Println("the guest listens on port 8080")
	fmt.Println("the guest ends:", server.ListenAndServe())
}
