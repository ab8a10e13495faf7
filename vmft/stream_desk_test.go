package vmft

import (
	"errors"
	"testing"
	"time"
)

// A client that contradicts what the machine has of its stream loses that: it would say the
// same on every attachment.
func TestStreamDeskEndsContradictions(t *testing.T) {
	for name, f := range map[string]talkFrameIn{
		"data beyond what has come":   {kind: talkData, off: 10, data: []byte("x")},
		"data beyond the window":      {kind: talkData, data: make([]byte, streamWindow+1)},
		"an end beyond what has come": {kind: talkEnd, off: 10},
		"bytes that were never sent":  {kind: talkAck, ack: talkAckment{got: 1}},
		"no frame":                    {kind: 99},
	} {
		table := newStreamTable(echoNetwork{})
		s := &tableStream{conn: firstConn + 1}
		table.list, table.byID[s.id] = append(table.list, s), s
		d := newStreamDesk(table, time.Minute, time.Time{})
		desk := d.attach(&streamHello{}, 1)
		if err := d.heard(desk, &f); !errors.Is(err, errFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(d.events); n != 1 || d.events[0].kind != streamReset {
			t.Errorf("%s: the log is told %+v", name, d.events)
		}
	}
}
