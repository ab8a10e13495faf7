package rpc

import "errors"

// What a duplicate table answers. The codes cross the wire, so errors.Is gives
// the same answer beside the table and at the far end of a connection.
//
// Each says what is known of the call it answers: ErrSessionWindow,
// ErrSessionsFull and ErrSessionMismatch mean that this request was certainly
// not executed; ErrInProgress that it is being executed; ErrSessionStale and
// ErrSessionResultTooLarge that it was executed or given up before;
// ErrSessionExpired that nobody can tell any more. ErrOutcomeUnknown is the
// answer when the call had begun before the server crashed, and no completion
// was recorded; it stays the answer until the watermark passes.
const (
	// ErrSessionStale: the sequence is below the watermark. The client has said
	// that it wants no answer to it any more, so its result is gone.
	ErrSessionStale Code = "rpc: session sequence is below the watermark"
	// ErrSessionExpired: the table doesn't know the session, because it expired,
	// was closed, or was issued by another table. Whether the call was executed
	// is unknown; it is never silently executed again.
	ErrSessionExpired Code = "rpc: session unknown or expired, outcome unknown"
	// ErrSessionMismatch: the sequence was used before for another request. The
	// earlier one stands; this one was not executed.
	ErrSessionMismatch Code = "rpc: session sequence reused for another request"
	// ErrSessionWindow: the sequence is too far above the watermark. Not executed;
	// the client must finish with older calls first.
	ErrSessionWindow Code = "rpc: session window exceeded, not executed"
	// ErrSessionsFull: the table has reached a limit. Not executed; try again
	// later. Results that nobody has acknowledged are never dropped to make room.
	ErrSessionsFull Code = "rpc: session table full, not executed"
	// ErrInProgress: the call is being executed, and the policy, or the limit on
	// waiting duplicates, is not to wait for it. Ask again later.
	ErrInProgress Code = "rpc: call in progress"
	// ErrSessionResultTooLarge: the call was executed, but its result exceeds
	// SessionsConfig.MaxResult and was not kept.
	ErrSessionResultTooLarge Code = "rpc: call executed, result too large to keep"
	// ErrSessionImage: Restore was given something that is no image of a table,
	// or a damaged one.
	ErrSessionImage Code = "rpc: damaged image of a session table"
)

// sessionOutcome returns what an answer of the table says of the request that
// got it.
func sessionOutcome(err error) Outcome {
	switch {
	case err == nil, errors.Is(err, ErrSessionResultTooLarge):
		return Executed
	case errors.Is(err, ErrSessionWindow), errors.Is(err, ErrSessionsFull), errors.Is(err, ErrSessionMismatch):
		return NotExecuted
	}
	return OutcomeUnknown
}
