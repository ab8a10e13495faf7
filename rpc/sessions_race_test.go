//go:build race

package rpc

// The cores run on one goroutine, where the race detector finds nothing and
// costs much: it sees fewer seeds.
const sessionsRace = true
