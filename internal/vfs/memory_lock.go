package vfs

import (
	"io"
	"os"
)

// Lock implements [FS].
func (m *Memory) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	n := f.(*memoryFile).node
	lock := &memoryLock{fs: m, node: n, file: f}
	err = m.named("lock", name, func() error {
		if m.locks[n] != nil {
			return ErrLocked
		}
		m.locks[n] = lock
		return nil
	})
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return lock, nil
}

// memoryLock is a lock that is held.
type memoryLock struct {
	fs   *Memory
	node *node
	file File
}

// Close gives up the lock.
func (l *memoryLock) Close() error {
	if err := l.fs.begin(); err != nil {
		return nil // the lock went with the machine
	}
	if l.fs.locks[l.node] == l {
		delete(l.fs.locks, l.node)
	}
	l.fs.mu.Unlock()
	return l.file.Close()
}
