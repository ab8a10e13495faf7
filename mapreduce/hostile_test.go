//lint:bubble
package mapreduce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/rpc"
)

// This file lets strangers talk to a cluster that has a job to do. It must not notice.

// undisturbed runs a job while strangers do what they do, and checks that no record
// was mapped twice and no attempt has failed.
func undisturbed(t *testing.T, strangers func(t *testing.T, c *testCluster, id JobID)) {
	t.Helper()
	testutil.Bubble(t, func(t *testing.T) {
		slow := &slowCount{pause: 200 * time.Millisecond}
		input := testInput(60)
		spec := testSpec(input, 12, 3)
		want := sequentialOutput(t, slow.job(), spec, ReadOnly(input))
		slow.maps.Store(0)
		c := newTestCluster(t, 2, input, slow.job())
		defer c.close()
		id, wait := c.submit(spec)
		c.until(id, func(s *JobStatus) bool { return s.Maps.Completed > 1 })
		strangers(t, c, id)
		if s, err := c.client.Status(t.Context(), id); err != nil || s.State != JobRunning {
			t.Errorf("when the strangers are done the job is %v, %v: nothing was tested", s, err)
		}
		checkSameOutput(t, "undisturbed", c.files, wait(), want)
		details := getJSON[JobReport](t, c.coordinator.StatusHandler(), fmt.Sprintf("/status.json?job=%d", id)).Details
		if n := slow.maps.Load(); n != 60 || len(details.Failures) > 0 {
			t.Errorf("%d records were mapped, want 60; failures: %+v", n, details.Failures)
		}
	})
}

// Whoever does not speak the protocol is hung up on.
func TestGarbageOnEveryPort(t *testing.T) {
	noise := make([]byte, 64<<10)
	rng := rand.NewChaCha8([32]byte{61})
	_, _ = rng.Read(noise)
	undisturbed(t, func(t *testing.T, c *testCluster, _ JobID) {
		all := map[string][]byte{
			"noise":  noise,
			"almost": append([]byte("trilith\x00"), bytes.Repeat([]byte{255}, 2000)...),
			"silent": nil,
		}
		maps.Insert(all, testutil.Greetings())
		for name, garbage := range all {
			for _, addr := range []string{"coordinator:1", "worker0:1", "worker1:1"} {
				conn, err := c.network.Host("stranger").Dial(t.Context(), addr)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(garbage) // which may be cut short
				if garbage != nil {
					_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
					if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %s does not hang up", name, addr)
					}
				}
				_ = conn.Close()
			}
		}
	})
}

// Who does not know the secret, or belongs to another cluster, gets nothing, and an
// error that says why.
func TestStrangersAreRefused(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		input := testInput(10)
		c := newTestCluster(t, 0, input, wordCount)
		defer c.close()
		coordinator, err := StartCoordinator(t.Context(), CoordinatorConfig{
			Transport: c.network.Host("safe"), Addr: "safe:1", Jobs: c.jobs, FileSystem: c.files, Input: c.input,
			Build: "test", Cluster: "ours", Secret: []byte("our secret"),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer coordinator.Close()
		worker := func(host, cluster, secret string) *Worker {
			w, err := StartWorker(t.Context(), WorkerConfig{
				Transport: c.network.Host(host), Addr: host + ":1", Coordinators: []string{"safe:1"}, Jobs: c.jobs, FileSystem: c.files,
				Input: c.input, Slots: 1, Dir: "/scratch", disk: vfs.NewMemory(1), Build: "test", Cluster: cluster, Secret: []byte(secret),
			})
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		good := worker("good", "ours", "our secret")
		defer good.Close()
		client := func(host, addr, cluster, secret string) (*Client, func() error) {
			client, err := NewClient(ClientConfig{Transport: c.network.Host(host), Coordinators: []string{addr}, Cluster: cluster, Secret: []byte(secret)})
			if err != nil {
				t.Fatal(err)
			}
			return client, client.Close
		}
		for _, s := range []struct {
			cluster, secret string
			want            error
		}{
			{"ours", "their secret", rpc.ErrSecret}, {"ours", "", rpc.ErrSecret}, {"theirs", "our secret", rpc.ErrCluster}, {"", "", rpc.ErrCluster},
		} {
			name := fmt.Sprintf("cluster %q, secret %q", s.cluster, s.secret)
			w := worker("stranger", s.cluster, s.secret)
			if err := w.Wait(t.Context()); !errors.Is(err, s.want) {
				t.Errorf("%s: the worker has ended with %v, want %v", name, err, s.want)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			stranger, done := client("stranger", "safe:1", s.cluster, s.secret)
			if _, err := stranger.Submit(t.Context(), "wordcount", testSpec(input, 2, 1)); !errors.Is(err, s.want) {
				t.Errorf("%s: a submission returns %v, want %v", name, err, s.want)
			}
			if err := done(); err != nil {
				t.Error(err)
			}
			thief, err := rpc.NewClient(rpc.ClientConfig{Transport: c.network.Host("thief"), Addrs: []string{"good:1"}, Cluster: s.cluster, Secret: []byte(s.secret)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rpc.OpenStream(t.Context(), thief, methodFetch, &fetchReq{0, []Attempt{{1, 1}}}); !errors.Is(err, s.want) {
				t.Errorf("%s: a fetch returns %v, want %v", name, err, s.want)
			}
			if err := thief.Close(); err != nil {
				t.Error(err)
			}
		}
		friend, done := client("friend", "safe:1", "ours", "our secret")
		defer done()
		id, err := friend.Submit(t.Context(), "wordcount", testSpec(input, 2, 1))
		if err == nil {
			_, err = friend.Wait(t.Context(), id)
		}
		if err != nil {
			t.Errorf("one of ours: %v", err)
		}
	})
}

// bare is a message that is its own encoding.
type bare []byte

func (b *bare) AppendBinary(dst []byte) ([]byte, error) { return append(dst, *b...), nil }

func (b *bare) UnmarshalBinary(src []byte) error {
	*b = bytes.Clone(src)
	return nil
}

// Messages that cannot be decoded, and such that can but speak of what there is not,
// are answered with errors, or have no effect.
func TestHostileMessages(t *testing.T) {
	nobody, never := taskRef{99, MapTask, 7}, Attempt{1, 1 << 40}
	hostile := map[string][]message{
		methodRegister: {&registerReq{workerRow{token: newToken(), addr: "stranger:1", host: "worker0", slots: [2]int{maxSlots, maxSlots}}, fingerprint{"other", nil}, []Attempt{{1, 1}, {1, 2}}}},
		methodPoll: {
			&pollReq{99, 1, [2]int{maxSlots, maxSlots}, nil, nil},
			&pollReq{1, math.MaxUint64, [2]int{}, []progress{{attempt: Attempt{1, 1}}}, []JobID{1}},
			&pollReq{0, 0, [2]int{}, nil, []JobID{0, 1, math.MaxUint64}},
		},
		methodDone: {
			&doneReq{attempt: never, task: taskRef{1, MapTask, 0}, sizes: []byte{0, 0, 0}},
			&doneReq{attempt: Attempt{7, 1}, task: taskRef{1, ReduceTask, maxReduces - 1}},
			&doneReq{attempt: never, task: nobody, failed: true, text: strings.Repeat("x", 1<<20), record: math.MaxUint64, log: strings.Repeat("y", 1<<20)},
		},
		methodLocate:    {&locateReq{99, 0, 0}, &locateReq{1, maxReduces - 1, 0}, &locateReq{1, 0, math.MaxInt32}},
		methodUnfetched: {&unfetchedReq{never, taskRef{1, MapTask, 0}, Attempt{1, 1}}, &unfetchedReq{Attempt{1, 1}, nobody, Attempt{1, 1}}, &unfetchedReq{Attempt{1, 1}, taskRef{1, MapTask, maxSplits - 1}, never}},
		methodAnnounce:  {&announceReq{never, span{1, math.MaxUint64}}, &announceReq{Attempt{}, span{}}},
		methodSubmit:    {&submitReq{"", "slow", Spec{}}, &submitReq{newToken(), "slow", Spec{Reduces: -1}}, &submitReq{newToken(), "none", Spec{}.withDefaults()}, &submitReq{newToken(), "slow", Spec{Output: "../../etc", Input: []string{"input"}}.withDefaults()}},
		methodResubmit:  {&resubmitReq{99}, &resubmitReq{1}},
		methodStatus:    {&statusReq{99, math.MaxInt64}, &statusReq{math.MaxUint64, 0}},
		methodCancel:    {&cancelReq{99, strings.Repeat("z", 1<<20)}},
	}
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	undecodable := []bare{
		bytes.Repeat([]byte{0xff}, 100), // numbers without an end
		bytes.Repeat(huge, 20),          // counts of 2⁶⁴-1
		append([]byte{1, 1}, bytes.Repeat([]byte{0x7f}, 9)...),
	}
	undisturbed(t, func(t *testing.T, c *testCluster, id JobID) {
		stranger, err := rpc.NewClient(rpc.ClientConfig{Transport: c.network.Host("stranger"), Addrs: []string{"coordinator:1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		call := func(method string, m message) error {
			b, err := m.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			req := bare(b)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err = rpc.Call[bare](ctx, stranger, method, &req)
			return err
		}
		for method, messages := range hostile {
			for _, m := range messages {
				err := call(method, m)
				harmless := method == methodDone || method == methodUnfetched || method == methodAnnounce || method == methodLocate
				if err == nil && !harmless {
					t.Errorf("%s takes %.200v", method, m)
				}
			}
			for _, b := range undecodable {
				if err := call(method, &b); !errors.Is(err, rpc.ErrMessage) {
					t.Errorf("%s(%x): %v, want %v", method, b, err, rpc.ErrMessage)
				}
			}
		}
		checkHostileFetches(t, c, id)
	})
}

// checkHostileFetches asks workers for what they do not have.
func checkHostileFetches(t *testing.T, c *testCluster, id JobID) {
	t.Helper()
	for i, w := range c.workers {
		stranger, err := rpc.NewClient(rpc.ClientConfig{Transport: c.network.Host("stranger"), Addrs: []string{fmt.Sprintf("worker%d:1", i)}})
		if err != nil {
			t.Fatal(err)
		}
		held := w.store.attempts()
		if len(held) == 0 {
			t.Fatalf("worker %d holds nothing of job %d", i, id)
		}
		for name, req := range map[string]*fetchReq{
			"unknown attempts":     {0, []Attempt{{}, {1, math.MaxUint64}, {math.MaxUint64, 1}}},
			"a partition too many": {3, held},
			"the last partition":   {maxReduces - 1, held},
			"many of them":         {0, make([]Attempt, 5000)},
		} {
			st, err := rpc.OpenStream(t.Context(), stranger, methodFetch, req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(st)
			if want := bytes.Repeat([]byte{fetchMissing}, len(req.attempts)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
			}
			_ = st.Close()
		}
		for _, b := range []bare{bytes.Repeat([]byte{0xff}, 30), binary.AppendUvarint(nil, maxReduces+1), binary.AppendUvarint([]byte{0}, 1<<40)} {
			st, err := rpc.OpenStream(t.Context(), stranger, methodFetch, &b)
			if err == nil {
				_, err = io.ReadAll(st)
				_ = st.Close()
			}
			if !errors.Is(err, rpc.ErrMessage) {
				t.Errorf("a fetch of %x: %v, want %v", b, err, rpc.ErrMessage)
			}
		}
		if err := stranger.Close(); err != nil {
			t.Error(err)
		}
	}
}
