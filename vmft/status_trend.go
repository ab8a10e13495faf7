package vmft

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trilith-go/trilith/internal/statuspage"
)

const (
	// sampleEvery is how often the status page's samples are taken, and samplesKept how
	// many of them are kept: ten minutes.
	sampleEvery = 2 * time.Second
	samplesKept = 300
)

// A Sample is what a node was doing at a time. Rates are those since the sample before.
type Sample struct {
	Time         time.Time
	Commands     float64       // executed a second
	LogBandwidth float64       // bytes a second that were sent on the logging channel
	Lag          time.Duration // of the backup's execution; on a primary
	KeptBytes    int64         // as in Status
	Held         int           // batches of outputs that wait for the backup or the journal
}

// A trend remembers the last samples.
type trend struct {
	mu       sync.Mutex // guards what follows
	samples  []Sample
	applied  uint64 // at the last sample
	logBytes int64
}

// sample takes a sample if it is time for one.
func (n *Node) sample(now time.Time) {
	t := &n.trend
	t.mu.Lock()
	defer t.mu.Unlock()
	since := now.Sub(n.began)
	if len(t.samples) > 0 {
		since = now.Sub(t.samples[len(t.samples)-1].Time)
	}
	if since < sampleEvery {
		return
	}
	s := n.brief()
	if len(t.samples) == samplesKept {
		t.samples = slices.Delete(t.samples, 0, 1)
	}
	t.samples = append(t.samples, Sample{
		Time: now, Commands: rate(int64(s.Applied)-int64(t.applied), since), LogBandwidth: rate(s.LogBytes-t.logBytes, since),
		Lag: s.Lag, KeptBytes: s.KeptBytes, Held: s.Held,
	})
	t.applied, t.logBytes = s.Applied, s.LogBytes
}

// rate is how many there are in a second; a clone begins with what it has not done itself.
func rate(n int64, since time.Duration) float64 { return max(0, float64(n)/since.Seconds()) }

func (t *trend) recent() []Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.samples)
}

// charts draws the samples.
func (r *Report) charts() []statuspage.Chart {
	if len(r.Samples) < 2 {
		return nil
	}
	of := func(value func(s *Sample) float64) []float64 {
		v := make([]float64, len(r.Samples))
		for i := range r.Samples {
			v[i] = value(&r.Samples[i])
		}
		return v
	}
	seconds := of(func(s *Sample) float64 { return s.Time.Sub(r.Samples[0].Time).Seconds() })
	size := func(v float64) string { return statuspage.Size(int64(v)) }
	commands := statuspage.NewChart("Commands", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return fmt.Sprintf("%.0f/s", v) }, Top: 1, Area: true},
		statuspage.Series{Name: "executed", Values: of(func(s *Sample) float64 { return s.Commands })})
	if r.Role != RolePrimary {
		return []statuspage.Chart{commands, statuspage.NewChart("Buffer", statuspage.Axes{Seconds: seconds, Label: size, Top: 1 << 10, Area: true},
			statuspage.Series{Name: "received and not executed", Values: of(func(s *Sample) float64 { return float64(s.KeptBytes) })})}
	}
	return []statuspage.Chart{commands,
		statuspage.NewChart("Logging channel", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return size(v) + "/s" }, Top: 1 << 10, Area: true},
			statuspage.Series{Name: "sent", Values: of(func(s *Sample) float64 { return s.LogBandwidth })}),
		statuspage.NewChart("Lag of the backup", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return fmt.Sprintf("%.0f ms", v) }, Top: 10, Area: true},
			statuspage.Series{Name: "execution", Values: of(func(s *Sample) float64 { return s.Lag.Seconds() * 1e3 })}),
	}
}
