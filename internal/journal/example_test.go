package journal_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/trilith-go/trilith/internal/journal"
	"github.com/trilith-go/trilith/internal/vfs"
)

// diary is a text that grows: its records are lines.
type diary struct{ text string }

func (d *diary) Restore(_ uint64, image io.Reader) error {
	text, err := io.ReadAll(image)
	d.text = string(text)
	return err
}

func (d *diary) Replay(_ uint64, record []byte) error {
	d.text += string(record) + "\n"
	return nil
}

func Example() {
	disk := vfs.NewMemory(1)
	today := new(diary)
	j, err := journal.Open(journal.Config{Dir: "diary", FS: disk}, today)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range []string{"got up", "had breakfast", "wrote a journal"} {
		if _, err := j.Append([]byte(line)); err != nil {
			fmt.Println(err)
			return
		}
	}
	safe, err := j.Sync()
	fmt.Println("safe:", safe, err)
	err = j.Checkpoint(2, strings.NewReader("an image of two lines\n"))
	fmt.Println("checkpoint:", err)
	_, _ = j.Append([]byte("forgot to sync"))

	disk = disk.Crash() // the power fails

	later := new(diary)
	j, err = journal.Open(journal.Config{Dir: "diary", FS: disk}, later)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(later.text)
	fmt.Println("closed:", j.Close())
	// Output:
	// safe: 3 <nil>
	// checkpoint: <nil>
	// an image of two lines
	// wrote a journal
	// closed: <nil>
}
