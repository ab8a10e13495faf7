package rpc

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Limits bound what a peer can make this process hold. The zero value of every
// field means its default. Both ends announce theirs in the handshake, and each
// keeps to the other's when it sends.
type Limits struct {
	// MaxMessageBytes bounds the encoded fields of one message. Default 16 MiB.
	MaxMessageBytes int
	// MaxBodyBytes bounds the raw body of one message. Default 256 MiB.
	MaxBodyBytes int
	// MaxCalls bounds the unary calls in progress on one connection; a client
	// that has so many waits for one to end. Default 1,024, at most 65,536.
	MaxCalls int
	// MaxStreams bounds the open streams of one connection; on a server, a stream
	// counts until its handler has returned. Default 256.
	MaxStreams int
	// StreamWindowBytes is how much a stream's sender may be ahead of its
	// reader. A stream begins with 512 KiB at most and gets more while its reader
	// keeps up. Default 4 MiB, at least 64 KiB.
	StreamWindowBytes int
	// MaxConns bounds the connections that a server accepts, those in their
	// handshake included. Default 4,096.
	MaxConns int
	// ConnBudgetBytes bounds the memory that one connection may hold on a
	// server in requests and stream windows; beyond it, requests are refused
	// with ErrOverloaded. Default 512 MiB.
	ConnBudgetBytes int64
	// BudgetBytes is ConnBudgetBytes for all connections together. Default
	// 1 GiB. The read buffers of at most 64 KiB a connection come on top.
	BudgetBytes int64
	// HandshakeTimeout bounds the handshake, TLS included. Default 5 s.
	HandshakeTimeout time.Duration
	// PingInterval is how long a connection may be silent before it is probed,
	// and lets go of what it needs only while it is busy; it is given up after
	// three silent intervals. Default 10 s.
	PingInterval time.Duration
}

const (
	// maxFrame bounds the length of a frame as it is written before its kind.
	maxFrame = 1<<18 + 64
	// maxChunk bounds the bytes of a body or stream in one frame: what a small call
	// can be made to wait for on a busy connection, or a third of it (see moreChunks).
	maxChunk = 1 << 18
	// maxInline bounds the message fields that travel inside a request or
	// response frame; longer ones follow in chunks.
	maxInline = 16 << 10
	// maxMethod bounds the length of a method's name.
	maxMethod = 255
	// maxPending bounds the encoded frames that wait for the connection's
	// writer; whoever comes beyond waits.
	maxPending = 1 << 20
	// eagerBytes is how much a receiver allocates on a peer's word for a
	// body; the rest is allocated as bytes arrive.
	eagerBytes = 1 << 20
	// slotBits is the part of a call id that names its slot.
	slotBits = 16
)

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MaxMessageBytes, 16<<20)
	def(&l.MaxBodyBytes, 256<<20)
	def(&l.MaxCalls, 1024)
	def(&l.MaxStreams, 256)
	def(&l.StreamWindowBytes, 4<<20)
	def(&l.MaxConns, 4096)
	if l.ConnBudgetBytes == 0 {
		l.ConnBudgetBytes = 512 << 20
	}
	if l.BudgetBytes == 0 {
		l.BudgetBytes = 1 << 30
	}
	if l.HandshakeTimeout == 0 {
		l.HandshakeTimeout = 5 * time.Second
	}
	if l.PingInterval == 0 {
		l.PingInterval = 10 * time.Second
	}
	return l
}

// firstWindow is the window that a stream begins with.
func (l *Limits) firstWindow() int64 { return int64(min(l.StreamWindowBytes, 512<<10)) }

// validate reports the first field that makes no sense. Zero means default.
func (l Limits) validate() error {
	for _, f := range []struct {
		name        string
		v, min, max int64
	}{
		{"MaxMessageBytes", int64(l.MaxMessageBytes), 1, math.MaxInt32},
		{"MaxBodyBytes", int64(l.MaxBodyBytes), 1, math.MaxInt32},
		{"MaxCalls", int64(l.MaxCalls), 1, 1 << slotBits},
		{"MaxStreams", int64(l.MaxStreams), 1, math.MaxInt32},
		{"StreamWindowBytes", int64(l.StreamWindowBytes), 64 << 10, 1 << 30},
		{"MaxConns", int64(l.MaxConns), 1, math.MaxInt32},
		{"ConnBudgetBytes", l.ConnBudgetBytes, 1, math.MaxInt64},
		{"BudgetBytes", l.BudgetBytes, 1, math.MaxInt64},
		{"HandshakeTimeout", int64(l.HandshakeTimeout), 1, math.MaxInt64},
		{"PingInterval", int64(l.PingInterval), 1, math.MaxInt64},
	} {
		if f.v != 0 && (f.v < f.min || f.v > f.max) {
			return fmt.Errorf("rpc: Limits.%s is %d; it must be from %d to %d, or 0 for the default", f.name, f.v, f.min, f.max)
		}
	}
	return nil
}

// A budget counts bytes against a limit, and against its parent's.
type budget struct {
	parent *budget
	limit  int64
	used   atomic.Int64
}

// reserve takes n bytes, or none and reports false.
func (b *budget) reserve(n int64) bool {
	if b.used.Add(n) > b.limit || b.parent != nil && !b.parent.reserve(n) {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) release(n int64) {
	b.used.Add(-n)
	if b.parent != nil {
		b.parent.release(n)
	}
}

// A connBudget is a connection's share of its server's budget. It takes from the
// total in lumps, so that a small call touches nothing that connections share.
// Guarded by the mux's lock.
type connBudget struct {
	limit int64
	used  int64 // by calls and streams
	taken int64 // from the total
	total *budget
}

const budgetLump = 64 << 10

func (b *connBudget) reserve(n int64) bool {
	if b.used+n > b.limit {
		return false
	}
	if short := b.used + n - b.taken; short > 0 {
		lump := max(short, budgetLump)
		if !b.total.reserve(lump) {
			if lump = short; !b.total.reserve(lump) {
				return false
			}
		}
		b.taken += lump
	}
	b.used += n
	return true
}

func (b *connBudget) release(n int64) {
	b.used -= n
	if spare := b.taken - b.used; spare > 4*budgetLump || b.used == 0 {
		b.total.release(spare)
		b.taken = b.used
	}
}
