//lint:bubble
package statelog_test

import (
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/statelog"
	"github.com/trilith-go/trilith/internal/statelog/statelogtest"
	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/internal/vfs"
)

// host runs a solo log, again and again.
type host struct {
	disk  *vfs.Memory // nil: the operating system's, or none
	cfg   statelog.Config
	slow  time.Duration // what each sync takes
	log   *statelog.Solo
	plant func(*statelog.Config)
}

func (h *host) subject() *statelogtest.Subject {
	s := &statelogtest.Subject{Start: h.start, Stop: h.stop, Volatile: h.cfg.Dir == ""}
	if h.disk != nil {
		s.Crash = h.crash
	}
	return s
}

func (h *host) start(newMachine func() *statelogtest.Book) (statelog.Log, *statelogtest.Book, error) {
	book := newMachine()
	cfg := h.cfg
	cfg.Machine = book
	if h.disk != nil {
		cfg.FS = vfs.Inject(h.disk, func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && h.slow > 0 {
				time.Sleep(h.slow)
			}
			return vfs.Fault{}
		})
	}
	if h.plant != nil {
		h.plant(&cfg)
	}
	log, err := statelog.Open(cfg)
	h.log = log
	return log, book, err
}

func (h *host) stop() error { return h.log.Close() }

func (h *host) crash() error {
	h.disk = h.disk.Crash()
	_ = h.log.Close() // of the dead machine: its disk fails
	return nil
}

// small makes checkpoints and segments frequent.
var small = statelog.Config{Dir: "log", CheckpointBytes: 8 << 10, SegmentBytes: 2 << 10}

func TestInMemory(t *testing.T) {
	statelogtest.TestLog(t, func() *statelogtest.Subject { return (&host{}).subject() })
}

func TestOnACrashingDisk(t *testing.T) {
	seed := uint64(0)
	statelogtest.TestLog(t, func() *statelogtest.Subject {
		seed++
		return (&host{cfg: small, disk: vfs.NewMemory(seed)}).subject()
	})
}

func TestOnASlowCrashingDisk(t *testing.T) {
	seed := uint64(100)
	statelogtest.TestLog(t, func() *statelogtest.Subject {
		seed++
		return (&host{cfg: small, disk: vfs.NewMemory(seed), slow: time.Millisecond}).subject()
	})
}

func TestOnARealDisk(t *testing.T) {
	statelogtest.TestLog(t, func() *statelogtest.Subject {
		cfg := small
		cfg.Dir = t.TempDir()
		return (&host{cfg: cfg}).subject()
	})
}

// TestPlantedBugsAreCaught holds the suite against a log with known bugs.
func TestPlantedBugsAreCaught(t *testing.T) {
	for name, plant := range map[string]func(*statelog.Config){
		"release an output early":  statelog.PlantReleaseEarly,
		"confirm a read early":     statelog.PlantConfirmEarly,
		"tell an epoch early":      statelog.PlantEpochUnsynced,
		"replay with another time": statelog.PlantFreshTime,
	} {
		caught := ""
		for _, c := range statelogtest.Checks {
			if caught != "" {
				break
			}
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				testutil.Bubble(t, func(t *testing.T) {
					h := &host{cfg: small, disk: vfs.NewMemory(1), slow: time.Millisecond, plant: plant}
					if err := c.Run(h.subject()); err != nil {
						t.Log(err)
						caught = c.Name
					}
					_ = h.log.Close() // a check that has failed leaves it as it is
				})
			})
		}
		if caught == "" {
			t.Errorf("%s: not caught", name)
		}
	}
}
