package limits

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// sumBytes is how many bytes a file server's checksum covers.
const sumBytes = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pipeBytes is how much goes from hand to hand at a time: it fits into a core's own
// cache, and the socket's buffer takes it at once.
const pipeBytes = 128 << 10

// sums checksums p, block by block, and returns something that depends on them all.
func sums(p []byte) (all uint32) {
	for len(p) > 0 {
		n := min(len(p), sumBytes)
		all ^= crc32.Checksum(p[:n], castagnoli)
		p = p[n:]
	}
	return all
}

// pair returns the two ends of a connection over loopback TCP.
func pair() (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = ln.Accept(); err != nil { // the kernel has the connection already
		return nil, nil, errors.Join(err, a.Close())
	}
	return a, b, nil
}

// ReadFile is the least that reading a file from a server takes: one goroutine reads it
// from the page cache, checksums it and sends it over loopback TCP, another receives it.
// It returns how many bytes came.
func ReadFile(name string) (n int64, err error) {
	f, size, err := openInput(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	from, to, err := pair()
	if err != nil {
		return 0, err
	}
	defer to.Close()
	var group errgroup.Group
	group.Go(func() (err error) {
		defer func() { err = errors.Join(err, from.Close()) }()
		buf := make([]byte, pipeBytes)
		for at := int64(0); at < size; {
			p := buf[:min(int64(len(buf)), size-at)]
			if _, err := f.ReadAt(p, at); err != nil {
				return err
			}
			checked.add(sums(p))
			if _, err := from.Write(p); err != nil {
				return err
			}
			at += int64(len(p))
		}
		return nil
	})
	n, err = drain(to)
	err = errors.Join(group.Wait(), err)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return n, err
}

func drain(conn net.Conn) (n int64, err error) {
	buf := make([]byte, pipeBytes)
	for {
		k, err := conn.Read(buf)
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// hops is how many servers store what WriteFile writes.
const hops = 3

// WriteFile is the least that writing a file to three servers takes: size bytes, some
// block again and again, go over loopback TCP from hop to hop, and each checksums them,
// sends them on and writes them into a file of its own in dir. It returns when the last
// byte is in all three files; they are neither synced nor removed.
func WriteFile(dir string, size int64) (err error) {
	client, in, err := pair()
	if err != nil {
		return err
	}
	var group errgroup.Group
	for i := range hops {
		var out, next net.Conn
		if i < hops-1 {
			if out, next, err = pair(); err != nil {
				return errors.Join(err, client.Close()) // which ends the others
			}
		}
		from := in
		group.Go(func() error { return hop(from, out, fmt.Sprintf("%s/hop%d", dir, i)) })
		in = next
	}
	block := make([]byte, pipeBytes)
	for i := range block {
		block[i] = byte(i * i >> 3)
	}
	for left := size; left > 0 && err == nil; {
		p := block[:min(int64(len(block)), left)]
		_, err = client.Write(p)
		left -= int64(len(p))
	}
	return errors.Join(err, client.Close(), group.Wait())
}

// hop stores what comes in, and sends it on unless out is nil.
func hop(in, out net.Conn, name string) (err error) {
	defer in.Close()
	if out != nil {
		defer out.Close()
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, pipeBytes)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := buf[:n]
		checked.add(sums(p))
		if out != nil {
			if _, err := out.Write(p); err != nil {
				return err
			}
		}
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
}

// WriteDisk writes size bytes into a file and makes them durable.
func WriteDisk(name string, size int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOutput(f)) }()
	block := make([]byte, 4*pipeBytes)
	for left := size; left > 0; {
		p := block[:min(int64(len(block)), left)]
		if _, err := f.Write(p); err != nil {
			return err
		}
		left -= int64(len(p))
	}
	return nil
}

// checked takes the checksums, so that the compiler cannot do without them.
var checked sink

type sink struct {
	mu  sync.Mutex
	all uint32
}

func (s *sink) add(sum uint32) {
	s.mu.Lock()
	s.all ^= sum
	s.mu.Unlock()
}
