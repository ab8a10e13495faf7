package mapreduce

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/trilith-go/trilith/internal/testutil"
)

// payloads returns all that a region holds.
func payloads(blocks blockReader) ([]byte, error) {
	var all []byte
	for {
		block, err := blocks.next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, block...)
	}
}

// A packed region reads as one that is not, and is smaller if that is possible.
func TestPackedRegions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text [][2]string
	for i := range 40_000 {
		text = append(text, [2]string{fmt.Sprintf("key%06d", i), "some value"})
	}
	for name, pairs := range map[string][][2]string{
		"text": text, "noise": {{"a", string(noise)}, {"b", "v"}}, "large": {{"a", strings.Repeat("x", 1<<20)}, {"b", "v"}}, "none": nil,
	} {
		plain, packed := regionOf(t, pairs), packedRegionOf(t, new(packer), pairs)
		want, err := payloads(inMemory(plain))
		if err != nil {
			t.Fatal(err)
		}
		for _, blocks := range []blockReader{inMemory(packed), inStream(packed), inStream(plain)} {
			if got, err := payloads(blocks); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, read by %T: %d bytes, %v, want %d", name, blocks, len(got), err, len(want))
			}
		}
		if small := len(packed) < len(plain)/2; small != (name == "text" || name == "large") || len(packed) > len(plain) {
			t.Errorf("%s: %d bytes, packed %d", name, len(plain), len(packed))
		}
	}
}

func TestPackedRegionDetectsEveryFlippedBit(t *testing.T) {
	region := packedRegionOf(t, new(packer), [][2]string{{"key", strings.Repeat("value", 20)}, {"other", "one"}})
	if binary.LittleEndian.Uint32(region)&packedBit == 0 {
		t.Fatal("the block is not packed")
	}
	for bit := range 8 * len(region) {
		bad := bytes.Clone(region)
		bad[bit/8] ^= 1 << (bit % 8)
		for _, blocks := range []blockReader{inMemory(bad), inStream(bad)} {
			if _, err := payloads(blocks); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d flipped, read by %T: %v", bit, blocks, err)
			}
		}
	}
}

// sealed returns a packed block with a right checksum, whatever is in it.
func sealed(stored []byte) []byte {
	block := append(make([]byte, blockHeader), stored...)
	binary.LittleEndian.PutUint32(block, packedBit|uint32(len(stored)))
	binary.LittleEndian.PutUint32(block[4:], blockSum(block))
	return block
}

// What a packed block says of itself is not believed.
func TestPackedBlocksThatLie(t *testing.T) {
	payload := bytes.Repeat([]byte("payload "), 100)
	good := new(packer).deflate(payload)[blockHeader:]
	_, n := binary.Uvarint(good)
	deflated := good[n:]
	says := func(size uint64) []byte { return append(binary.AppendUvarint(nil, size), deflated...) }
	for name, stored := range map[string][]byte{
		"too short a length": says(uint64(len(payload)) - 1),
		"too long a length":  says(uint64(len(payload)) + 1),
		"no length":          says(0),
		"a huge length":      says(1 << 62),
		"an endless length":  bytes.Repeat([]byte{0xff}, 20),
		"cut off":            good[:len(good)-5],
		"more behind it":     append(bytes.Clone(good), "more"...),
		"not deflated":       append(binary.AppendUvarint(nil, 100), payload...),
	} {
		var u unpacker
		if _, err := u.payload(sealed(stored)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := u.payload(sealed(good)); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("a good block after %s: %v", name, err)
		}
	}
}

func FuzzPackedBlock(f *testing.F) {
	f.Add(new(packer).deflate(bytes.Repeat([]byte("payload "), 100))[blockHeader:])
	for _, b := range testutil.Strangers() {
		f.Add(b)
	}
	f.Add([]byte("\x80\x80\x80\x80\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var u unpacker
		if payload, err := u.payload(sealed(stored)); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
		} else if size, _ := binary.Uvarint(stored); size != uint64(len(payload)) {
			t.Errorf("%d bytes, said to be %d", len(payload), size)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	var text []byte
	for i := range 5000 {
		text = fmt.Appendf(text, "key%06d\tsome value%d\n", i, i%7)
	}
	text = text[:blockBytes]
	b.Run(fmt.Sprintf("deflate/bytes=%d", len(text)), func(b *testing.B) {
		var p packer
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			p.deflate(text)
		}
	})
	b.Run(fmt.Sprintf("inflate/bytes=%d", len(text)), func(b *testing.B) {
		block := sealed(new(packer).deflate(text)[blockHeader:])
		var u unpacker
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := u.payload(block); err != nil {
				b.Fatal(err)
			}
		}
	})
}
