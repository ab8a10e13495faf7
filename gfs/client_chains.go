package gfs

import (
	"context"
	"strings"
	"sync"
)

// maxIdleChains is how many chains a client keeps that nobody uses just now.
const maxIdleChains = 16

// A sharedChain is a chain that several writers use.
type sharedChain struct {
	*chain
	key   string
	users int
}

// A chainTable has the chains of a client. Chunks with the same members share one.
type chainTable struct {
	mu      sync.Mutex // guards what follows
	chains  map[string]*sharedChain
	opening map[string]chan struct{} // closed when it is open, or could not be opened
	idle    []*sharedChain           // without users, the last used at the end
	closed  bool
}

// chainKey names the chains through the same members in the same order.
func chainKey(members []location) string {
	var b strings.Builder
	for _, m := range members {
		b.WriteString(m.addr)
		b.WriteByte('\n')
	}
	return b.String()
}

// take returns a chain through members, for use until done. Who needs one that another
// is opening waits: with two, the one that is given up could take with it what is on its
// way.
func (t *chainTable) take(ctx context.Context, peers *peerTable, members []location) (*sharedChain, error) {
	key := chainKey(members)
	for {
		s, opening, err := t.find(key)
		if s != nil || err != nil {
			return s, err
		}
		if opening == nil {
			return t.open(ctx, key, peers, members)
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open opens the chain that find has found nobody opening.
func (t *chainTable) open(ctx context.Context, key string, peers *peerTable, members []location) (*sharedChain, error) {
	opened, err := openChain(ctx, peers.dial, members)
	t.mu.Lock()
	close(t.opening[key])
	delete(t.opening, key)
	if err == nil && !t.closed {
		s := &sharedChain{chain: opened, key: key, users: 1}
		if t.chains == nil {
			t.chains = make(map[string]*sharedChain)
		}
		t.chains[key] = s
		t.mu.Unlock()
		return s, nil
	}
	t.mu.Unlock()
	if err == nil {
		opened.close()
		err = ErrClosed
	}
	return nil, err
}

// find returns the chain with a key that can be used; or what is closed when somebody
// has opened it; or neither, and then the caller must open it.
func (t *chainTable) find(key string) (s *sharedChain, opening <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	if s = t.chains[key]; s != nil && s.broken() == nil {
		if s.users == 0 {
			t.unidle(s)
		}
		s.users++
		return s, nil, nil
	}
	delete(t.chains, key) // whoever uses it lets go of it
	if wait := t.opening[key]; wait != nil {
		return nil, wait, nil
	}
	if t.opening == nil {
		t.opening = make(map[string]chan struct{})
	}
	t.opening[key] = make(chan struct{})
	return nil, nil, nil
}

// done ends a use.
func (t *chainTable) done(s *sharedChain) {
	t.mu.Lock()
	var useless *sharedChain
	if s.users--; s.users == 0 {
		switch {
		case t.chains[s.key] != s || s.broken() != nil || t.closed:
			useless = s
		default:
			t.idle = append(t.idle, s)
			if len(t.idle) > maxIdleChains {
				useless = t.idle[0]
				t.unidle(useless)
			}
		}
		if useless != nil && t.chains[useless.key] == useless {
			delete(t.chains, useless.key)
		}
	}
	t.mu.Unlock()
	if useless != nil {
		useless.close()
	}
}

func (t *chainTable) unidle(s *sharedChain) {
	for i, other := range t.idle {
		if other == s {
			t.idle = append(t.idle[:i], t.idle[i+1:]...)
			return
		}
	}
}

// close closes the chains that nobody uses; the others close when they are done with.
func (t *chainTable) close() {
	t.mu.Lock()
	t.closed = true
	idle := t.idle
	t.idle = nil
	t.mu.Unlock()
	for _, s := range idle {
		s.close()
	}
}
