package toy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/trilith-go/trilith/internal/wire"
)

// Delta is that of a vmft.Transferable: the state, and the pages that have changed.
func (t *Toy) Delta() (io.WriterTo, error) {
	d := &delta{frozen: t.image(), whole: !t.begun}
	for i, p := range t.pages {
		if d.changed[i] = t.changed[i] || d.whole && p != nil; d.changed[i] {
			t.shared[i] = true
		}
	}
	t.changed, t.begun = [pageCount]bool{}, true
	return d, nil
}

type delta struct {
	*frozen
	whole   bool
	changed [pageCount]bool
}

// WriteTo implements io.WriterTo.
func (d *delta) WriteTo(w io.Writer) (int64, error) {
	b := wire.AppendBytes(nil, d.head)
	b = wire.AppendBool(b, d.whole)
	for i, changed := range d.changed {
		if changed {
			b = binary.AppendUvarint(b, uint64(i)+1)
			for _, word := range d.pages[i] {
				b = binary.LittleEndian.AppendUint64(b, word)
			}
		}
	}
	n, err := w.Write(append(b, 0))
	return int64(n), err
}

// ApplyDelta is that of a vmft.Transferable. After an error nothing has changed.
func (t *Toy) ApplyDelta(b []byte) error {
	d := wire.NewDecoder(b)
	head, ok := bytes.CutPrefix(d.Bytes(), []byte(t.name))
	if !ok {
		return errors.New("toy: a delta of another toy")
	}
	state, err := parseState(head)
	if err != nil {
		return err
	}
	pages := t.pages
	if d.Bool() {
		pages = [pageCount]*[pageWords]uint64{}
	}
	for n := d.Uvarint(); n > 0 && n <= pageCount && d.Err() == nil; n = d.Uvarint() {
		pages[n-1] = new([pageWords]uint64)
		for i := range pages[n-1] {
			pages[n-1][i] = d.Uint64()
		}
	}
	if err := d.Finish(); err != nil {
		return err
	}
	for i := range pages {
		t.shared[i] = t.shared[i] && pages[i] == t.pages[i]
	}
	t.state, t.pages, t.outputs = state, pages, nil
	t.changed, t.begun = [pageCount]bool{}, true
	return nil
}
