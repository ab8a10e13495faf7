package gfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// What is out of range is named, with the range.
func TestSetPolicyNamesWhatIsWrong(t *testing.T) {
	for want, p := range map[string]Policy{
		"Replication is 70, not from 0 to 64": {Replication: MaxReplication + 6},
		"MaxFiles is -1":                      {MaxFiles: -1},
		"MaxChunks is -2":                     {MaxChunks: -2},
	} {
		err := new(Client).SetPolicy(t.Context(), "dir", p)
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// An operation that time ends says what went wrong until then, also where that was told
// with the end itself.
func TestEndedBySaysWhy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	why := errors.New("refused")
	for _, err := range []error{why, fmt.Errorf("%w: %w", context.DeadlineExceeded, why)} {
		got := endedBy(ctx, err)
		if !errors.Is(got, context.DeadlineExceeded) || !errors.Is(got, why) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if got := endedBy(ctx, nil); got != context.DeadlineExceeded {
		t.Error(got)
	}
}
