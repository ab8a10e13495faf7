package mapreduce

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trilith-go/trilith/internal/statuspage"
)

// jobView is a job as the page shows it.
type jobView struct {
	Report *JobReport
	Charts []statuspage.Chart
	Grids  []grid
}

// ID is the job's.
func (v *jobView) ID() JobID { return v.Report.ID }

func newJobView(r *JobReport) *jobView {
	d := r.Details
	v := &jobView{Report: r, Charts: newCharts(r), Grids: []grid{newGrid(MapTask, r.Maps, d.MapCells)}}
	if r.Reduces.Total > 0 {
		v.Grids = append(v.Grids, newGrid(ReduceTask, r.Reduces, d.ReduceCells))
	}
	return v
}

// grid is a picture of tasks, a cell each or for several.
type grid struct {
	Title         string
	Width, Height int
	Cells         []gridCell
}

type gridCell struct {
	X, Y         int
	Class, Label string
}

const (
	gridColumns = 64
	cellPitch   = 15 // pixels from cell to cell
	cellMargin  = 1  // for the stroke of those at the edge
)

func newGrid(kind TaskKind, p TaskProgress, cells []TaskCell) grid {
	rows := (len(cells) + gridColumns - 1) / gridColumns
	g := grid{
		Title: fmt.Sprintf("%d %v tasks", p.Total, kind),
		Width: gridColumns * cellPitch, Height: max(rows, 1) * cellPitch,
	}
	if len(cells) > 0 && cells[0].Tasks > 1 {
		g.Title += fmt.Sprintf(", %d a cell", cells[0].Tasks)
	}
	for i, c := range cells {
		g.Cells = append(g.Cells, gridCell{
			X: i%gridColumns*cellPitch + cellMargin, Y: i/gridColumns*cellPitch + cellMargin,
			Class: c.class(), Label: c.label(kind),
		})
	}
	return g
}

// class returns the classes of a cell in the style sheet.
func (c *TaskCell) class() string {
	class := "idle"
	switch {
	case c.Completed == c.Tasks:
		class = "done"
	case c.Tasks == 1 && c.Running > 0, c.Completed == 0 && c.Running > 0:
		class = "run"
	case c.Completed > 0:
		class = fmt.Sprintf("part%d", 1+3*c.Completed/c.Tasks)
	}
	if c.Failures > 0 {
		class += " bad"
	}
	return class
}

func (c *TaskCell) label(kind TaskKind) string {
	var b strings.Builder
	if c.Tasks == 1 {
		state := "idle"
		if c.Running > 0 {
			state = "running"
		} else if c.Completed > 0 {
			state = "completed"
		}
		fmt.Fprintf(&b, "%s: %s", taskName(kind, c.First), state)
	} else {
		fmt.Fprintf(&b, "%v tasks %d to %d: %d completed, %d running", kind, c.First, c.First+c.Tasks-1, c.Completed, c.Running)
	}
	if c.Failures > 0 {
		fmt.Fprintf(&b, ", %d failures", c.Failures)
	}
	return b.String()
}

func newCharts(r *JobReport) []statuspage.Chart {
	samples := r.Details.Samples
	if len(samples) < 2 {
		return nil
	}
	input := func(s *Sample) float64 { return float64(s.InputBytes) }
	read := func(s *Sample) float64 { return float64(s.ReadBytes) }
	mapped := func(s *Sample) float64 { return float64(s.MapOutputBytes) }
	output := func(s *Sample) float64 { return float64(s.OutputBytes) }
	part := func(done, all int) float64 { return 100 * float64(done) / float64(max(all, 1)) }
	bytesTop := func(v float64) string { return statuspage.Size(int64(v)) }
	bytesRates := []statuspage.Series{{Name: "input", Values: rates(samples, read)}, {Name: "output", Values: rates(samples, output)}}
	completed := []statuspage.Series{{Name: "maps", Values: values(samples, func(s *Sample) float64 { return part(s.Maps, r.Maps.Total) })}}
	if r.Reduces.Total > 0 {
		bytesRates = slices.Insert(bytesRates, 1, statuspage.Series{Name: "map output", Values: rates(samples, mapped)})
		completed = append(completed, statuspage.Series{Name: "reduces", Values: values(samples, func(s *Sample) float64 { return part(s.Reduces, r.Reduces.Total) })})
	}
	seconds := values(samples, func(s *Sample) float64 { return s.Seconds })
	return []statuspage.Chart{
		statuspage.NewChart("Input mapped", statuspage.Axes{Seconds: seconds, Label: bytesTop, Top: float64(r.InputBytes), Area: true},
			statuspage.Series{Name: "input of completed maps", Values: values(samples, input)}),
		statuspage.NewChart("Rates", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return bytesTop(v) + "/s" }}, bytesRates...),
		statuspage.NewChart("Tasks completed", statuspage.Axes{Seconds: seconds, Label: func(v float64) string { return fmt.Sprintf("%.0f %%", v) }, Top: 100}, completed...),
	}
}

// values returns the values of a series, one a sample.
func values(samples []Sample, of func(*Sample) float64) []float64 {
	v := make([]float64, len(samples))
	for i := range samples {
		v[i] = of(&samples[i])
	}
	return v
}

// rates returns by how much a value rises in a second, over a window that is wide
// enough for tasks to complete in it.
func rates(samples []Sample, of func(*Sample) float64) []float64 {
	v := make([]float64, len(samples))
	window := max(4, len(samples)/20)
	for i := 1; i < len(samples); i++ {
		before := &samples[max(0, i-window)]
		if took := samples[i].Seconds - before.Seconds; took > 0 {
			v[i] = max(0, (of(&samples[i])-of(before))/took)
		}
	}
	return v
}
