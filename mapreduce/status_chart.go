package mapreduce

import (
	"fmt"
	"slices"
	"strings"
)

// jobView is a job as the page shows it.
type jobView struct {
	Report *JobReport
	Charts []chart
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

// chart is a picture of values over time.
type chart struct {
	Title     string
	Top, Span string // the labels of the axes
	Curves    []curve
}

// curve is one line of a chart, as the data of SVG paths.
type curve struct {
	Name, Class, Line, Area string
}

// The place of a chart's curves in its picture, in SVG's units.
const (
	chartWidth  = 320
	chartTop    = 10
	chartBottom = 110
)

func newCharts(r *JobReport) []chart {
	samples := r.Details.Samples
	if len(samples) < 2 {
		return nil
	}
	input := func(s *Sample) float64 { return float64(s.InputBytes) }
	read := func(s *Sample) float64 { return float64(s.ReadBytes) }
	mapped := func(s *Sample) float64 { return float64(s.MapOutputBytes) }
	output := func(s *Sample) float64 { return float64(s.OutputBytes) }
	part := func(done, all int) float64 { return 100 * float64(done) / float64(max(all, 1)) }
	bytesTop := func(v float64) string { return formatSize(int64(v)) }
	bytesRates := []series{{"input", rates(samples, read)}, {"output", rates(samples, output)}}
	completed := []series{{"maps", values(samples, func(s *Sample) float64 { return part(s.Maps, r.Maps.Total) })}}
	if r.Reduces.Total > 0 {
		bytesRates = slices.Insert(bytesRates, 1, series{"map output", rates(samples, mapped)})
		completed = append(completed, series{"reduces", values(samples, func(s *Sample) float64 { return part(s.Reduces, r.Reduces.Total) })})
	}
	return []chart{
		newChart("Input mapped", samples, bytesTop, float64(r.InputBytes), true,
			series{"input of completed maps", values(samples, input)}),
		newChart("Rates", samples, func(v float64) string { return bytesTop(v) + "/s" }, 0, false, bytesRates...),
		newChart("Tasks completed", samples, func(v float64) string { return fmt.Sprintf("%.0f %%", v) }, 100, false, completed...),
	}
}

// series are the values of a curve, one a sample.
type series struct {
	name   string
	values []float64
}

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

// newChart draws series on a common scale, which reaches top at least.
func newChart(title string, samples []Sample, label func(float64) string, top float64, area bool, all ...series) chart {
	for _, s := range all {
		for _, v := range s.values {
			top = max(top, v)
		}
	}
	last := samples[len(samples)-1].Seconds
	c := chart{Title: title, Top: label(top), Span: formatSpan(last)}
	for i, s := range all {
		var line strings.Builder
		for k, v := range s.values {
			x := chartWidth * samples[k].Seconds / max(last, 1e-9)
			y := chartBottom - (chartBottom-chartTop)*v/max(top, 1e-9)
			fmt.Fprintf(&line, "%c%.1f %.1f", "ML"[min(k, 1)], x, y)
		}
		drawn := curve{Name: s.name, Class: []string{"first", "second", "third"}[i], Line: line.String()}
		if area {
			drawn.Area = fmt.Sprintf("%sL%d %dL0 %dZ", drawn.Line, chartWidth, chartBottom, chartBottom)
		}
		c.Curves = append(c.Curves, drawn)
	}
	return c
}
