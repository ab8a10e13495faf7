package vmft

import (
	"bytes"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/trilith-go/trilith/internal/testutil"
)

func sampleBatch() []byte {
	data := beginBatch(nil, 7, 42)
	data = addEntry(data, kindCommand, []byte("one"))
	data = addEntry(data, kindCall, bytes.Repeat([]byte("two"), 1000))
	data = addEntry(data, kindCheck, nil)
	endBatch(data, 3)
	return data
}

// What is on the channel comes out as it went in, however it is cut.
func TestFrames(t *testing.T) {
	var stream []byte
	for range 50 {
		stream = appendFrame(stream, frameBatch, make([]byte, 8), sampleBatch())
		stream = appendFrame(stream, frameBeat)
	}
	in := &frames{r: iotest.HalfReader(bytes.NewReader(stream))}
	for n := range 100 {
		kind, payload, err := in.next()
		if err != nil {
			t.Fatal(err)
		}
		if n%2 == 1 {
			continue
		}
		if kind != frameBatch {
			t.Fatalf("frame %d is of kind %d", n, kind)
		}
		b, err := parseBatch(payload[8:])
		if err != nil || b.first != 7 || b.last != 9 || b.at != 42 {
			t.Fatalf("%+v, %v", b, err)
		}
		var kinds []byte
		b.each(func(e entry) { kinds = append(kinds, e.kind) })
		if !bytes.Equal(kinds, []byte{kindCommand, kindCall, kindCheck}) {
			t.Fatalf("entries of kinds %v", kinds)
		}
	}
	if _, _, err := in.next(); err != io.EOF {
		t.Errorf("the end of the stream is %v", err)
	}
}

func TestFollowRequest(t *testing.T) {
	want := followReq{Member: alpha, Fingerprint: "kv/2", Upgrades: []string{"kv/1", "kv/0"}, Session: 9, Resume: true, Position: 1 << 40}
	b, _ := want.AppendBinary(nil)
	var got followReq
	if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v comes back as %+v, %v", want, got, err)
	}
}

// No bytes make a decoder fail otherwise than by an error.
func FuzzChannel(f *testing.F) {
	accept := acceptance{record: Record{Epoch: 3, Primary: alpha, Backup: beta}, session: 5, position: 6, at: 7, fingerprint: "kv/1"}
	request, _ := (&followReq{Member: alpha, Upgrades: []string{"kv/1"}}).AppendBinary(nil)
	for _, seed := range [][]byte{
		nil, sampleBatch(), accept.append(nil), request, formatRecord(accept.record), appendFrame(nil, frameBatch, sampleBatch()),
		bytes.Repeat([]byte{0xff}, 64), make([]byte, 64),
	} {
		f.Add(seed)
	}
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	for kind := range byte(frameBeat + 1) { // in a frame of a kind
		for _, b := range testutil.Strangers() {
			f.Add(appendFrame(nil, kind, b))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := parseBatch(data); err == nil {
			n := uint64(0)
			b.each(func(entry) { n++ })
			if b.first+n-1 != b.last {
				t.Errorf("%d entries from %d to %d", n, b.first, b.last)
			}
		}
		if a, err := parseAcceptance(data); err == nil && !bytes.Equal(a.append(nil), data) {
			if again, err := parseAcceptance(a.append(nil)); err != nil || again != a {
				t.Errorf("%+v comes back as %+v", a, again)
			}
		}
		_, _ = parseAcknowledgement(data)
		_ = new(followReq).UnmarshalBinary(data)
		_, _ = parseRecord(data)
		_, _ = readImageHead(bytes.NewReader(data))
		in := &frames{r: bytes.NewReader(data)}
		for {
			if _, _, err := in.next(); err != nil {
				break
			}
		}
	})
}
