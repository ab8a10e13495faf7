package shareddisk

// keptOpen is how many chunks are kept open, beside those that are not synced.
const keptOpen = 128

func (c *chunk) close() {
	if c.file != nil {
		_ = c.file.Close() // what was written is synced, or lost as one would see at the sync
	}
}

// take returns a chunk for use; give ends that.
func (s *store) take(at chunkID) *chunk {
	s.mu.Lock()
	c := s.open[at]
	if c == nil {
		c = new(chunk)
		s.open[at] = c
	}
	c.users++
	s.clock++
	c.used = s.clock
	var closing *chunk
	if len(s.open) > keptOpen {
		closing = s.evict()
	}
	s.mu.Unlock()
	if closing != nil {
		closing.close()
	}
	return c
}

// evict takes out the chunk that was not used for the longest time. s.mu is held.
func (s *store) evict() (oldest *chunk) {
	var at chunkID
	for id, c := range s.open {
		if c.users == 0 && !c.dirty && (oldest == nil || c.used < oldest.used) {
			oldest, at = c, id
		}
	}
	if oldest != nil {
		delete(s.open, at)
	}
	return oldest
}

func (s *store) give(c *chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.users--
}

// taint says that something of a chunk is not durable, and of its directory if it is new.
func (s *store) taint(c *chunk, dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		c.dirty = true
	}
	if dir != "" {
		s.dirs[dir] = true
	}
}
