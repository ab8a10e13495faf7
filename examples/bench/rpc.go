package main

import (
	"context"
	"encoding/binary"
	"fmt"
)

// rpcSuite measures remote calls, client and server in one process.
var rpcSuite = suite{
	name:     "rpc",
	about:    "remote calls, client and server in this process over loopback TCP unless the name says otherwise",
	cases:    names(rpcCases),
	subjects: names(rpcSubjects),
	baseline: func(string) string { return "limit" },
	rounds:   5,
	timed:    true,
	open: func(ctx context.Context, kase, subject string, _ *workspace) (cell, error) {
		c := find(rpcCases, kase)
		l, err := find(rpcSubjects, subject)(ctx, c)
		if l == nil || err != nil {
			return nil, err
		}
		l.bytes = c.kind.bytes()
		return l, nil
	},
}

var rpcCases = []named[rpcCase]{
	{"echo64/conc1", rpcCase{echo, 1}},
	{"echo64/conc64", rpcCase{echo, 64}},
	{"echo64/conc512", rpcCase{echo, 512}},
	{"resp1m/conc1", rpcCase{bulk, 1}},
	{"resp1m/conc64", rpcCase{bulk, 64}},
	{"stream", rpcCase{stream, 1}},
}

// rpcSubjects set up a subject for a case; those that have nothing to set
// against it return nil.
var rpcSubjects = []named[func(context.Context, rpcCase) (*load, error)]{
	{"trilith", openTrilith(way{})},
	{"trilith-inline", openTrilith(way{inline: true})},
	{"trilith-memory", openTrilith(way{memory: true})},
	{"trilith-exactly-once", openTrilith(way{once: true})},
	{"netrpc", openNetRPC},
	{"netrpc-reuse", openNetRPCReuse},
	{"limit", openLimit(true)},
	{"limit-eager", openLimit(false)},
}

// The sizes in the names of the cases.
const (
	smallSize = 64
	bulkSize  = 1 << 20
	chunkSize = 256 << 10
)

// An rpcCase is what all subjects do in a case of the rpc suite.
type rpcCase struct {
	kind    rpcKind
	callers int
}

type rpcKind int

const (
	echo   rpcKind = iota // smallSize bytes there and back
	bulk                  // smallSize bytes there, bulkSize bytes back into the caller's buffer
	stream                // chunkSize bytes there, nothing back
)

// An exchange is the request and the response of one caller, made once and used
// again for every call. Each request is unlike all others, so that a response
// that belongs to another is noticed.
type exchange struct {
	kind  rpcKind
	req   []byte
	resp  []byte // of the size to expect
	stamp uint64
}

func newExchange(kind rpcKind, caller int) *exchange {
	e := &exchange{kind: kind, req: make([]byte, smallSize), stamp: uint64(caller) << 40}
	e.resp = make([]byte, smallSize)
	if kind == bulk {
		e.resp = make([]byte, bulkSize)
	}
	return e
}

// next prepares the next call.
func (e *exchange) next() {
	e.stamp++
	binary.LittleEndian.PutUint64(e.req, e.stamp)
	e.resp[len(e.resp)-1] = 0
}

// check checks the response to the last call.
func (e *exchange) check(resp []byte) error {
	switch {
	case e.kind == echo && len(resp) == smallSize && binary.LittleEndian.Uint64(resp) == e.stamp:
		return nil
	case e.kind == bulk && len(resp) == bulkSize && resp[bulkSize-1] == bulkMark:
		return nil
	}
	return fmt.Errorf("call %#x got a response of %d bytes that is not its own", e.stamp, len(resp))
}

// bulkMark ends the body that a server sends in the bulk cases.
const bulkMark = 0xa5

// newBulkBody returns that body. A server makes it once.
func newBulkBody() []byte {
	body := make([]byte, bulkSize)
	body[bulkSize-1] = bulkMark
	return body
}

// bytes returns how much an operation moves.
func (k rpcKind) bytes() int {
	return map[rpcKind]int{echo: 2 * smallSize, bulk: smallSize + bulkSize, stream: chunkSize}[k]
}
