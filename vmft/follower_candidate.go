package vmft

// dismiss ends a candidate that is refused by who has made it: it has no future there, unless
// there is a record that names it, which the primary did not live to tell it of.
func (f *follower) dismiss() {
	r, err := f.n.consult(f.ctx, chainStep{read: true})
	if err != nil {
		return // it will be refused again
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.core.told(r) && !f.core.joined() && !f.core.sealed {
		f.core.out = true
	}
	f.look()
}
