package standby

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/trilith-go/trilith/vmft"
)

// A Node is a vmft.Node with what it was started with. It is the log of a master or of a
// coordinator, which closes it.
type Node struct {
	*vmft.Node
	lock   string    // where the chain of epochs is, as an operator knows it
	client io.Closer // of the arbiter; nil: it has none
}

// Close ends the node.
func (n *Node) Close() error {
	err := n.Node.Close()
	if n.client != nil {
		_ = n.client.Close() // nothing is in progress
	}
	return err
}

const (
	// lookEvery is how often a node's Status is looked at.
	lookEvery = 10 * time.Millisecond
	// lonely is how long a process looks for somebody to stand by for before it says what
	// may be wrong.
	lonely = 5 * time.Second
)

// Watch prints what becomes of the node, a line at a time, until it or ctx ends.
func (n *Node) Watch(ctx context.Context, out io.Writer) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	said := ""
	refused := make(map[string]string)
	spare := time.Now() // since when nobody is found to stand by for
	for {
		s := n.Status()
		if now := describe(&s); now != said {
			said = now
			fmt.Fprintf(out, "%s %s\n", time.Now().Format(time.TimeOnly), now)
		}
		for addr, why := range s.Refusals {
			if refused[addr] != why && strings.Contains(why, string(vmft.ErrFingerprint)) {
				fmt.Fprintf(out, "%s cannot stand by for the node at %s: %s\n", time.Now().Format(time.TimeOnly), addr, why)
			}
			refused[addr] = why
		}
		switch {
		case s.Role != vmft.RoleSpare:
			spare = time.Now()
		case !spare.IsZero() && time.Since(spare) > lonely:
			spare = time.Time{}
			fmt.Fprintf(out, "%s %s\n", time.Now().Format(time.TimeOnly), n.alone(&s))
		}
		if s.Role == vmft.RoleEnded {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// describe says what a node is.
func describe(s *vmft.Status) string {
	switch s.Role {
	case vmft.RolePrimary:
		if s.Newest.Backup.IsZero() {
			return fmt.Sprintf("leads in epoch %d, and nobody stands by", s.Newest.Epoch)
		}
		return fmt.Sprintf("leads in epoch %d, and %s stands by", s.Newest.Epoch, s.Newest.Backup.Addr)
	case vmft.RoleBackup:
		return fmt.Sprintf("stands by for %s in epoch %d", s.Newest.Primary.Addr, s.Newest.Epoch)
	case vmft.RoleCandidate:
		return "has the state, and is to stand by"
	case vmft.RoleEnded:
		return "ends"
	}
	return "looks for who leads"
}

// alone says what may be wrong if a process has found nobody to stand by for.
func (n *Node) alone(s *vmft.Status) string {
	switch {
	case s.Arbiter != nil:
		return fmt.Sprintf("waits for %s, without which nobody may lead: %v", n.lock, s.Arbiter)
	case s.Newest.Epoch > 0:
		return fmt.Sprintf("finds nobody who leads. In epoch %d that was %v; this process has no part in it, and must not go on in its place. "+
			"Start those again that have journals; if all that was known is lost for good, begin anew with another %s", s.Newest.Epoch, s.Newest.Primary.Addr, n.lock)
	}
	return "finds nobody who leads"
}
