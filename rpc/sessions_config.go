package rpc

import (
	"fmt"
	"hash/crc32"
	"time"
)

// Ceilings of what SessionsConfig may ask for.
const (
	// SessionMaxWindow is the largest Window.
	SessionMaxWindow = 1 << 16
	// SessionMaxResult is the largest MaxResult, in bytes.
	SessionMaxResult = 1 << 25
)

// SessionsConfig bounds a table. The zero value of each field means its default.
// Tables that must stay the same (the replicas of one machine) must have the
// same limits: Sessions.Fingerprint tells whether they do.
type SessionsConfig struct {
	// Table is the table's UUID. Left zero, it is set later by SetTable or
	// Restore, and no session can be opened before.
	Table [16]byte
	// TTL is how long a session lives without activity, at least a millisecond.
	// The default is 30 minutes.
	TTL time.Duration
	// Window is how far a sequence may be above the watermark: the number of
	// calls a client may have unacknowledged. The default is 1024, the most
	// SessionMaxWindow.
	Window int
	// MaxSessions is the number of sessions. The default is 65,536.
	MaxSessions int
	// MaxEntries bounds the calls remembered by all sessions together; a sequence
	// that has not arrived, below one that has, counts. The default is 1,048,576.
	MaxEntries int
	// MaxResult is the size of the largest result kept, in bytes. Each running
	// call holds that much of MaxSessionBytes and MaxBytes until it completes.
	// Results up to 32 KiB count as the next power of two, from 64 bytes up. The
	// default is 64 KiB, the most SessionMaxResult.
	MaxResult int
	// MaxSessionBytes bounds what one session holds; it has room for two results
	// at least. The default is 64 MiB.
	MaxSessionBytes int64
	// MaxBytes bounds what all sessions hold. The default is 256 MiB.
	MaxBytes int64
	// WaitersPerCall bounds the duplicates that wait for one call; further ones
	// get ErrInProgress. The default is 16.
	WaitersPerCall int
	// MaxWaiters bounds the duplicates that wait in all. The default is 65,536.
	MaxWaiters int
}

func (c SessionsConfig) withDefaults() SessionsConfig {
	c.TTL = orSessionDefault(c.TTL, 30*time.Minute)
	c.Window = orSessionDefault(c.Window, 1024)
	c.MaxSessions = orSessionDefault(c.MaxSessions, 1<<16)
	c.MaxEntries = orSessionDefault(c.MaxEntries, 1<<20)
	c.MaxResult = orSessionDefault(c.MaxResult, 64<<10)
	c.MaxSessionBytes = orSessionDefault(c.MaxSessionBytes, 64<<20)
	c.MaxBytes = orSessionDefault(c.MaxBytes, 256<<20)
	c.WaitersPerCall = orSessionDefault(c.WaitersPerCall, 16)
	c.MaxWaiters = orSessionDefault(c.MaxWaiters, 1<<16)
	return c
}

func orSessionDefault[T ~int | ~int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (c SessionsConfig) validate() error {
	d := c.withDefaults()
	room := 2 * (sessionSize(max(0, d.MaxResult)) + sessionSlotBytes)
	for _, f := range []struct {
		name         string
		v, low, high int64
	}{
		{"Window", int64(d.Window), 1, SessionMaxWindow},
		{"MaxSessions", int64(d.MaxSessions), 1, 1 << 40},
		{"MaxEntries", int64(d.MaxEntries), 2, 1 << 40},
		{"MaxResult", int64(d.MaxResult), 1, SessionMaxResult},
		{"MaxSessionBytes", d.MaxSessionBytes, room, 1 << 50},
		{"MaxBytes", d.MaxBytes, room, 1 << 50},
		{"WaitersPerCall", int64(d.WaitersPerCall), 1, 1 << 20},
		{"MaxWaiters", int64(d.MaxWaiters), 1, 1 << 30},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("rpc: SessionsConfig.%s is %d; it must be from %d to %d, or 0 for the default", f.name, f.v, f.low, f.high)
		}
	}
	if d.TTL < time.Millisecond {
		return fmt.Errorf("rpc: SessionsConfig.TTL is %v; it must be at least 1ms, or 0 for the default", d.TTL)
	}
	return nil
}

// Fingerprint names the format of the table's image and the limits that decide
// its verdicts. Two tables are told the same and stay the same only if their
// fingerprints are equal: a Machine makes it part of its own.
func (s *Sessions) Fingerprint() string {
	c := s.cfg
	return fmt.Sprintf("sessions/%d ttl=%v window=%d sessions=%d entries=%d result=%d bytes=%d/%d",
		sessionsImageVersion, c.TTL, c.Window, c.MaxSessions, c.MaxEntries, c.MaxResult,
		c.MaxSessionBytes, c.MaxBytes)
}

// SessionsStats describes a table. The first five are what it holds now; the
// others count since it was made, and are no part of its image.
type SessionsStats struct {
	Sessions int
	Entries  int   // as MaxEntries counts them
	Running  int   // calls that began and did not complete
	Waiting  int   // duplicates that wait for a running call
	Bytes    int64 // as MaxBytes counts them

	Executed   uint64 // calls told to execute
	Replayed   uint64 // duplicates answered with the stored result
	Waited     uint64 // duplicates told to wait
	InProgress uint64 // duplicates that got ErrInProgress
	Stale      uint64 // requests that got ErrSessionStale
	Expired    uint64 // requests that got ErrSessionExpired
	Mismatched uint64 // requests that got ErrSessionMismatch
	Unknown    uint64 // requests that got ErrOutcomeUnknown
	Refused    uint64 // requests that got ErrSessionsFull or ErrSessionWindow
	Closed     uint64 // sessions that were closed
	Collected  uint64 // sessions that expired
}

// Stats returns the table's figures.
func (s *Sessions) Stats() SessionsStats {
	st := s.stats
	st.Sessions = len(s.byN)
	st.Entries = s.slots
	st.Running = s.running
	st.Waiting = s.waiters.n
	st.Bytes = s.bytes
	return st
}

var sessionHashTable = crc32.MakeTable(crc32.Castagnoli)

// SessionHash returns a hash of a request for SessionCall.Hash, equal in every
// process. It finds mistakes, not malice: it tells a retry from a sequence
// reused by accident.
func SessionHash(method string, request ...[]byte) uint64 {
	name := uint32(2166136261) // FNV-1a: names are short, and strings
	for i := range len(method) {
		name = (name ^ uint32(method[i])) * 16777619
	}
	sum := uint32(0)
	for _, p := range request {
		sum = crc32.Update(sum, sessionHashTable, p)
		name += uint32(len(p))
	}
	return uint64(name)<<32 | uint64(sum)
}
