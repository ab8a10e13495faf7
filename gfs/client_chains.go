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
	mu     sync.Mutex // guards what follows
	chains map[string]*sharedChain
	idle   []*sharedChain // without users, the last used at the end
	closed bool
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

// take returns a chain through members, for use until done.
func (t *chainTable) take(ctx context.Context, peers *peerTable, members []location) (*sharedChain, error) {
	key := chainKey(members)
	if s, err := t.find(key); s != nil || err != nil {
		return s, err
	}
	opened, err := openChain(ctx, peers.dial, members)
	if err != nil {
		return nil, err
	}
	s := &sharedChain{chain: opened, key: key, users: 1}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		opened.close()
		return nil, ErrClosed
	}
	if t.chains == nil {
		t.chains = make(map[string]*sharedChain)
	}
	t.chains[key] = s // another that was opened meanwhile ends with its users
	t.mu.Unlock()
	return s, nil
}

// find returns the chain with a key that can be used, or nil.
func (t *chainTable) find(key string) (*sharedChain, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	s := t.chains[key]
	if s == nil {
		return nil, nil
	}
	if s.broken() != nil {
		delete(t.chains, key) // whoever uses it lets go of it
		return nil, nil
	}
	if s.users == 0 {
		t.unidle(s)
	}
	s.users++
	return s, nil
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
