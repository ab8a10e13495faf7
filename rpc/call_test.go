package rpc

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

func TestCall(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Echo", echo)
			HandleInline(s, "EchoInline", echo)
		})
		for _, method := range []string{"Echo", "EchoInline"} {
			for _, size := range []int{0, 1, 100, maxInline - 10, maxInline + 1, maxChunk, maxChunk + 1} {
				for _, body := range []int{0, 1, maxChunk, 2*maxChunk + 1, 5*maxChunk + 3} {
					req := &note{N: uint64(size), Text: string(pattern(size, 1))}
					req.Data = pattern(body, 2)
					resp, err := Call[note](t.Context(), p.c, method, req)
					if err != nil {
						t.Fatalf("%s: text %d, body %d: %v", method, size, body, err)
					}
					if resp.N != req.N || resp.Text != req.Text {
						t.Fatalf("%s: text %d, body %d: fields differ", method, size, body)
					}
					mustEqual(t, "body", resp.Data, req.Data)
				}
			}
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) { Handle(s, "Echo", echo) })
		blob := pattern(1<<20, 1)
		var wg sync.WaitGroup
		for g := range 50 {
			wg.Go(func() {
				for i := range 20 {
					req := &note{N: uint64(g*1000 + i), Text: strings.Repeat("x", g*i)}
					req.Data = blob[:i*g*20]
					resp, err := Call[note](t.Context(), p.c, "Echo", req)
					if err != nil || resp.N != req.N || resp.Text != req.Text || string(resp.Data) != string(req.Data) {
						t.Errorf("call %d of %d: wrong answer, error %v", i, g, err)
						return
					}
				}
			})
		}
		wg.Wait()
		idle(t, p.s)
		if st := p.s.Stats(); st.Calls != 1000 || st.Failures != 0 {
			t.Errorf("server's statistics after 1000 calls: %+v", st)
		}
	})
}

// TestCallInto: a body arrives in the caller's own memory.
func TestCallInto(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) { Handle(s, "Echo", echo) })
		mine := make([]byte, 0, 1<<20)
		req := &note{Body: Body{Data: pattern(1<<20, 3)}}
		resp := &note{Body: Body{Data: mine}}
		if err := CallInto(t.Context(), p.c, "Echo", req, resp); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "body", resp.Data, req.Data)
		if &resp.Data[0] != &mine[:1][0] {
			t.Error("the body did not arrive in the caller's buffer")
		}
		req.Data = pattern(1<<20+1, 4)
		if err := CallInto(t.Context(), p.c, "Echo", req, resp); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "body that does not fit", resp.Data, req.Data)
	})
}

// TestRelease: a handler gets its response's body back exactly once.
func TestRelease(t *testing.T) {
	released := make(chan struct{}, 10)
	p := newRig(t, "TCP").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
		Handle(s, "Read", func(_ context.Context, n *note) (*note, error) {
			resp := &note{Body: Body{Data: pattern(int(n.N), 5)}}
			resp.Release = func() { released <- struct{}{} }
			return resp, nil
		})
	})
	for _, n := range []uint64{0, 10, 1 << 20} {
		if _, err := Call[note](t.Context(), p.c, "Read", &note{N: n}); err != nil {
			t.Fatal(err)
		}
		<-released
	}
	if p.c.Close(); len(released) != 0 {
		t.Error("a body was released twice")
	}
}

// jsonMessage has no codec of its own.
type jsonMessage struct {
	Name  string
	Words map[string]int
	Body
}

func TestFallbackCodec(t *testing.T) {
	p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
		Handle(s, "Count", func(_ context.Context, m *jsonMessage) (*jsonMessage, error) {
			resp := &jsonMessage{Name: m.Name, Words: map[string]int{}, Body: Body{Data: m.Data}}
			for _, w := range strings.Fields(m.Name) {
				resp.Words[w]++
			}
			return resp, nil
		})
		Handle(s, "Nil", func(context.Context, *jsonMessage) (*jsonMessage, error) { return nil, nil })
	})
	body := pattern(1000, 1)
	resp, err := Call[jsonMessage](t.Context(), p.c, "Count", &jsonMessage{Name: "to be or not to be", Body: Body{Data: body}})
	if err != nil || resp.Words["be"] != 2 {
		t.Fatalf("got %+v, error %v", resp, err)
	}
	mustEqual(t, "body", resp.Data, body)
	if resp, err := Call[jsonMessage](t.Context(), p.c, "Nil", &jsonMessage{}); err != nil || resp.Words != nil {
		t.Errorf("a response of nil: %+v, error %v", resp, err)
	}
	used := &jsonMessage{Name: "used", Words: map[string]int{"x": 1}, Body: Body{Data: make([]byte, 5, 10)}}
	if err := CallInto(t.Context(), p.c, "Nil", &jsonMessage{}, used); err != nil || used.Name != "" || used.Words != nil || len(used.Data) != 0 {
		t.Errorf("a response of nil into one that was used: %+v, error %v", used, err)
	}
	if _, err := Call[jsonMessage](t.Context(), p.c, "Nil", &Empty{}); !errors.Is(err, ErrMessage) {
		t.Errorf("a request of another encoding: %v", err)
	}
}

const errCustom = Code("test: custom")

// TestErrors: what a handler returns is what the caller can test for.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		err     error
		is      []error
		outcome Outcome
	}{
		{errCustom, []error{errCustom}, Executed},
		{&fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}, []error{fs.ErrNotExist}, Executed},
		{errors.Join(errCustom, io.ErrUnexpectedEOF), []error{errCustom, io.ErrUnexpectedEOF}, Executed},
		{Refuse(errCustom), []error{errCustom, ErrNotExecuted}, NotExecuted},
		{Uncertain(errCustom), []error{errCustom, ErrOutcomeUnknown}, OutcomeUnknown},
		{&Error{Op: "call", Method: "Inner", Outcome: NotExecuted, Err: errCustom}, []error{errCustom}, Executed},
		{context.DeadlineExceeded, []error{context.DeadlineExceeded}, Executed},
		{errors.New(strings.Repeat("long ", 5000)), nil, Executed},
	} {
		p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
			Handle(s, "Fail", func(context.Context, *Empty) (*Empty, error) { return nil, tc.err })
		})
		_, err := Call[Empty](t.Context(), p.c, "Fail", &Empty{})
		var e *Error
		if !errors.As(err, &e) || e.Method != "Fail" || e.Addr != p.addr {
			t.Fatalf("%v arrived as %#v", tc.err, err)
		}
		for _, is := range tc.is {
			if !errors.Is(err, is) {
				t.Errorf("%v arrived as %v, which is not %v", tc.err, err, is)
			}
		}
		if OutcomeOf(err) != tc.outcome {
			t.Errorf("%v: outcome %v, want %v", tc.err, OutcomeOf(err), tc.outcome)
		}
		if errors.Is(err, fs.ErrExist) {
			t.Errorf("%v arrived as something that it is not", tc.err)
		}
	}
}

func TestPanicIsTheCallsAlone(t *testing.T) {
	p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
		Handle(s, "Panic", func(context.Context, *Empty) (*Empty, error) { panic("no") })
		Handle(s, "Echo", echo)
	})
	if _, err := Call[Empty](t.Context(), p.c, "Panic", &Empty{}); !errors.Is(err, ErrPanic) {
		t.Errorf("error %v, want ErrPanic", err)
	}
	if _, err := Call[note](t.Context(), p.c, "Echo", &note{}); err != nil {
		t.Error(err)
	}
	if n := p.s.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

func TestUnknownMethodAndBadMessages(t *testing.T) {
	p := newRig(t, "Network").start(t, ServerConfig{}, ClientConfig{}, func(s *Server) {
		Handle(s, "Echo", echo)
		HandleStream(s, "Stream", echoStream)
	})
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || !errors.Is(err, ErrNotExecuted) {
			t.Errorf("%s: error %v, want %v, not executed", what, err, want)
		}
	}
	big := &note{Body: Body{Data: make([]byte, 1<<20)}}
	_, err := Call[note](t.Context(), p.c, "Nope", big)
	check("unknown method", err, ErrNoMethod)
	_, err = Call[note](t.Context(), p.c.AtLeastOnce(), "Nope", &note{})
	check("unknown method, at least once", err, ErrNoMethod)
	_, err = Call[note](t.Context(), p.c, "Stream", &note{})
	check("a stream's method", err, ErrNoMethod)
	_, err = OpenStream(t.Context(), p.c, "Echo", &Empty{})
	check("a call's method", err, ErrNoMethod)
	_, err = Call[note](t.Context(), p.c, "", &note{})
	check("no method", err, ErrNoMethod)
	_, err = Call[note](t.Context(), p.c, "Echo", &jsonMessage{Name: "json"})
	check("another message", err, ErrMessage)
	_, err = Call[note](t.Context(), p.c.ExactlyOnce(), "Echo", &note{})
	check("exactly once without sessions", err, ErrNoSessions)
	if resp, err := Call[note](t.Context(), p.c, "Echo", big); err != nil || len(resp.Data) != 1<<20 {
		t.Errorf("a good call after the bad: %v", err)
	}
}

func TestExactlyOnceBasics(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		table, err := NewSessionTable(SessionTableConfig{})
		if err != nil {
			t.Fatal(err)
		}
		p := r.start(t, ServerConfig{Sessions: table}, ClientConfig{}, func(s *Server) { Handle(s, "Echo", echo) })
		for i := range 100 {
			resp, err := Call[note](t.Context(), p.c.ExactlyOnce(), "Echo", &note{N: uint64(i)})
			if err != nil || resp.N != uint64(i) {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		if st := table.Stats(); st.Executed != 100 || st.Sessions != 1 {
			t.Errorf("the table's figures: %+v", st)
		}
		p.c.Close()
		if st := table.Stats(); st.Sessions != 0 {
			t.Errorf("after Close the session lives on: %+v", st)
		}
	})
}

// TestAnsweredBeforeAllWasSent: a server that answers before it has all of a request has
// answered once, and nobody else's call.
func TestAnsweredBeforeAllWasSent(t *testing.T) {
	onEach(t, func(t *testing.T, r rig) {
		p := r.start(t, ServerConfig{}, ClientConfig{}, func(s *Server) { Handle(s, "Echo", echo) })
		body := make([]byte, 600<<10)
		var callers sync.WaitGroup
		for g := range 4 {
			callers.Go(func() {
				for i := range 40 {
					if _, err := Call[note](t.Context(), p.c, "None", &note{Body: Body{Data: body}}); !errors.Is(err, ErrNoMethod) {
						t.Errorf("a method that there is not: %v", err)
					}
					n := uint64(1000*g + i)
					if resp, err := Call[note](t.Context(), p.c, "Echo", &note{N: n}); err != nil || resp.N != n {
						t.Errorf("beside it: %v, %v", resp, err)
					}
				}
			})
		}
		callers.Wait()
	})
}
