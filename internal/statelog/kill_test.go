package statelog_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
)

// killed is the variable that makes this test binary the process that is killed; it
// holds the directory of the log.
const killed = "STATELOG_TEST_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killed); dir != "" {
		if err := proposeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// proposeForEver proposes and prints each id once it has been acknowledged.
func proposeForEver(dir string) error {
	cfg := small
	book := statelogtest.NewBook()
	cfg.Dir, cfg.Machine = dir, book
	l, err := statelog.Open(cfg)
	if err != nil {
		return err
	}
	for id := uint64(len(book.Entries()) + 1); ; id++ {
		if _, _, err := l.Propose(context.Background(), binary.LittleEndian.AppendUint64(nil, id)); err != nil {
			return err
		}
		fmt.Println(id)
	}
}

// TestKilledProcess kills a real process in the middle of its work, a few times.
// Whatever it had acknowledged is there, and its lock is not.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	acknowledged := uint64(0)
	for life := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killed+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if acknowledged, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if n == 100 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		if acknowledged < uint64(100*(life+1)) {
			t.Fatalf("only %d commands were acknowledged", acknowledged)
		}
		book := statelogtest.NewBook()
		cfg := small
		cfg.Dir, cfg.Machine = dir, book
		l, err := statelog.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		entries := book.Entries()
		if n := uint64(len(entries)); n < acknowledged || n > acknowledged+1 || entries[n-1].ID != n {
			t.Fatalf("%d commands were acknowledged, %d are there", acknowledged, n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
