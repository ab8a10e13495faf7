package mapreduce

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
)

// busyTable returns a table in which much is going on, and the commands that made
// it so.
func busyTable(t testing.TB) (*tasks, [][]byte) {
	t.Helper()
	j := &job{token: "t", name: "job", build: "b", splits: []Split{
		{Pieces: []Piece{{"f", 0, 10}, {"g", 5, 7}}, hosts: []string{"h"}}, {Data: []byte("data")}, {},
	}, spec: Spec{Input: []string{"*"}, Output: "out", Reduces: 2, Bounds: [][]byte{{'k'}}, Labels: []string{"y"}, Args: map[string]string{"a": "b"}}.withDefaults()}
	second := &job{token: "u", name: "job", spec: Spec{Output: "out2", SkipBadRecords: 1}.withDefaults(), splits: []Split{{}}}
	ref := func(kind TaskKind, i int) taskRef { return taskRef{1, kind, i} }
	commands := [][]byte{
		commandLead(1),
		commandJoin(1, &workerRow{token: "w1", addr: "a:1", host: "a", rack: "r", slots: [2]int{2, 2}, labels: []string{"x", "y"}}),
		commandJoin(1, &workerRow{token: "w2", addr: "b:1", host: "b", slots: [2]int{2, 0}, labels: []string{"y"}}),
		commandSubmit(1, j),
		commandSubmit(1, second),
		commandAssign(1, []assignment{{ref(MapTask, 0), 1, false}, {ref(MapTask, 1), 2, false}, {ref(MapTask, 2), 1, false}, {taskRef{2, MapTask, 0}, 2, false}}),
		commandAssign(1, []assignment{{ref(MapTask, 2), 2, true}}),
		commandComplete(1, ref(MapTask, 0), Attempt{1, 1}, []byte{1, 2}, counts{{"a", 5}, {"b", -3}}, []string{"by/day/1", "errors-m-00000"}),
		commandComplete(1, ref(MapTask, 1), Attempt{1, 2}, []byte{0, 255}, counts{{"b", 1}}, nil),
		commandFailed(1, Attempt{1, 4}, "failed", 0),
		commandAssign(1, []assignment{{taskRef{2, MapTask, 0}, 2, false}}),
		commandFailed(1, Attempt{1, 6}, "in record 7", 8),
		commandAssign(1, []assignment{{taskRef{2, MapTask, 0}, 2, false}}),
		commandFailed(1, Attempt{1, 7}, "in record 7", 8),
		commandLost(1, ref(MapTask, 1), Attempt{1, 2}, true, "lost"),
		commandEnd(1, 2, JobCanceled, "cancelled"),
	}
	table := newTasks()
	for i, cmd := range commands {
		if out := table.apply(time.Unix(int64(i), 0), cmd, nil); status(out[0]) != statusOK {
			t.Fatalf("command %d: status %d", i, out[0])
		}
		if err := table.check(); err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
	}
	return table, commands
}

// Whatever is in a command, the table stays sound.
func FuzzCommand(f *testing.F) {
	_, commands := busyTable(f)
	for _, cmd := range commands {
		f.Add(cmd)
	}
	f.Add(commandDead(1, 1, []mark{{Attempt{1, 3}, span{5, 1}}}))
	f.Add(commandYield(1, Attempt{1, 3}))
	f.Add(commandAssign(1, []assignment{{taskRef{1, ReduceTask, 0}, 2, false}})) // a worker that takes no reduces
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for c := range cmdYield + 1 { // a kind, an epoch, a length
		for _, b := range testutil.Lengths(byte(c), 1) {
			f.Add(b)
		}
	}
	f.Add([]byte("\x04\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, cmd []byte) {
		table, _ := busyTable(t)
		table.apply(time.Unix(100, 0), cmd, nil)
		if err := table.check(); err != nil {
			t.Errorf("after %x: %v", cmd, err)
		}
	})
}

// abortedImage returns the image of a table with a job that was aborted and submitted
// again.
func abortedImage(t testing.TB) []byte {
	t.Helper()
	j := &job{token: "t", name: "job", spec: Spec{Output: "out", Reduces: 1, Abort: true, Resubmits: 2}.withDefaults()}
	again := *j
	again.token, again.predecessor = "u", 1
	table := newTasks()
	for _, cmd := range [][]byte{commandLead(1), commandSubmit(1, j), commandLead(2), commandSubmit(2, &again)} {
		if out := table.apply(time.Unix(1, 0), cmd, nil); status(out[0]) != statusOK {
			t.Fatalf("status %d", out[0])
		}
	}
	var image bytes.Buffer
	if _, err := table.freeze().WriteTo(&image); err != nil || table.jobs[1].successor != 2 {
		t.Fatal(err)
	}
	return image.Bytes()
}

// An image is refused, or gives a sound table that has the same image.
func FuzzImage(f *testing.F) {
	table, _ := busyTable(f)
	var image bytes.Buffer
	if _, err := table.freeze().WriteTo(&image); err != nil {
		f.Fatal(err)
	}
	f.Add(image.Bytes())
	f.Add(abortedImage(f))
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		table := newTasks()
		if err := table.restore(bytes.NewReader(src)); err != nil {
			return
		}
		if err := table.check(); err != nil {
			t.Fatal(err)
		}
		var once, twice bytes.Buffer
		again := newTasks()
		if _, err := table.WriteTo(&once); err != nil {
			t.Fatal(err)
		}
		if err := again.restore(bytes.NewReader(once.Bytes())); err != nil {
			t.Fatalf("the image of what was restored is refused: %v", err)
		}
		if _, err := again.WriteTo(&twice); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("two images of one table differ: %v", err)
		}
	})
}

func testMessages() []message {
	a, b := Attempt{1, 2}, Attempt{3, 4}
	spec := Spec{Input: []string{"*"}, Output: "out", Compress: true, Labels: []string{"x"}, ReduceAfter: 7, Args: map[string]string{"a": "b"}}.withDefaults()
	return []message{
		&registerReq{workerRow{token: "t", addr: "a:1", host: "a", rack: "r", slots: [2]int{3, 0}, labels: []string{"x"}}, fingerprint{"build", []string{"x", "y"}}, []Attempt{a, b}},
		&registerResp{7, 8, time.Second},
		&pollReq{7, 8, [2]int{1, 2}, []progress{{a, 5, 0, true, counts{{"a", 1}, {"b", -1}}, "a\nb"}, {b, 6, 7, false, nil, ""}}, []JobID{1, 2}},
		&pollResp{[]assigned{{order{a, taskRef{1, MapTask, 2}}, "token", "name", 9, spec, Split{Pieces: []Piece{{"f", 1, 2}}}, care{[]uint64{1, 5}, true, span{7, 1}}}}, []Attempt{b}, []JobID{3}},
		&doneReq{a, taskRef{1, ReduceTask, 2}, []byte{1, 2, 3}, counts{{"a", 1}}, []string{"x/y"}, true, "why", 5, "said"},
		&doneResp{true, false},
		&resubmitReq{7},
		&locateReq{1, 2, 3},
		&locateResp{[]location{{1, a, "a:1", 200}, {2, Attempt{}, "", 0}, {3, b, "a:1", 1}}, 5},
		&unfetchedReq{a, taskRef{1, MapTask, 2}, b},
		&announceReq{a, span{3, 256}},
		&submitReq{"token", "name", spec},
		&submitResp{5},
		&statusReq{5, time.Minute},
		&statusResp{JobStatus{ID: 1, Name: "n", Input: []string{"a", "b*"}, Output: "o", State: JobFailed, Failure: "f", Waiting: "w", Resubmits: 3, Successor: 4, Maps: TaskProgress{3, 2, 1}, InputBytes: 9, SideFiles: 4, Submitted: time.Unix(5, 0).UTC(), Counters: map[string]int64{"a": 1, "b": -2}, Skipped: []SkippedRecord{{ReduceTask, 1, 2, "why"}}}},
		&jobsResp{[]JobStatus{{ID: 1}, {ID: 2}}},
		&cancelReq{5, "why"},
		&fetchReq{3, []Attempt{a, b}},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range testMessages() {
		b, err := m.AppendBinary([]byte("prefix"))
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := got.UnmarshalBinary(b[len("prefix"):]); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, %v, want %+v", m, got, err, m)
		}
	}
}

// FuzzMessages decodes bytes as each message in turn: what is accepted survives
// another round.
func FuzzMessages(f *testing.F) {
	for i, m := range testMessages() {
		b, _ := m.AppendBinary(nil)
		f.Add(i, b)
		for _, b := range testutil.Strangers() {
			f.Add(i, b)
		}
	}
	f.Fuzz(func(t *testing.T, which int, src []byte) {
		messages := testMessages()
		typ := reflect.TypeOf(messages[uint(which)%uint(len(messages))]).Elem()
		first := reflect.New(typ).Interface().(message)
		if first.UnmarshalBinary(src) != nil {
			return
		}
		b, err := first.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		second := reflect.New(typ).Interface().(message)
		if err := second.UnmarshalBinary(b); err != nil {
			t.Fatalf("%+v is encoded as %x: %v", first, b, err)
		}
		if again, _ := second.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%T: %x becomes %x", first, b, again)
		}
	})
}
