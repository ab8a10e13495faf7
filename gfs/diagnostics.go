package gfs

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/rpc"
)

// maxTold bounds what the diagnostic log says of one request, in bytes.
const maxTold = 400

// diagnostics returns what makes a server log every call that it serves, with what was
// asked, by whom, how long it took and what came of it, but no file's data: the diagnostic
// log of RPCs (§5.3). It does so at level trace, and costs nothing if logger is not at that
// level when the server starts.
func diagnostics(logger hclog.Logger) []rpc.ServerInterceptor {
	if !logger.IsTrace() {
		return nil
	}
	return []rpc.ServerInterceptor{func(ctx context.Context, inv *rpc.Invocation, next func(context.Context) error) error {
		began := time.Now()
		err := next(ctx)
		took := time.Since(began)
		peer, _ := rpc.PeerFromContext(ctx)
		args := []any{"method", inv.Method, "peer", peer.Addr, "user", peer.Node, "took", took, "request", told(inv.Req)}
		if call, ok := rpc.CallFromContext(ctx); ok && call.Semantics == rpc.ExactlyOnce {
			args = append(args, "session", call.Session, "sequence", call.Seq)
		}
		if err != nil {
			args = append(args, "error", err)
		}
		logger.Trace("served", args...)
		return err
	}}
}

// told returns a request as the diagnostic log has it.
func told(req any) string {
	if apply, ok := req.(*applyReq); ok {
		short := *apply
		short.resent = nil
		req = &short
	}
	text := fmt.Sprintf("%+v", req)
	if len(text) > maxTold {
		return text[:maxTold] + "…"
	}
	return text
}
