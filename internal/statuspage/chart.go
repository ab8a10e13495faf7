package statuspage

import (
	"fmt"
	"strings"
)

// A Chart is a picture of values over time.
type Chart struct {
	Title     string
	Top, Span string // the labels of the axes
	Curves    []Curve
}

// A Curve is one line of a chart, as the data of SVG paths.
type Curve struct {
	Name, Class, Line, Area string
}

// Series are the values of a curve, one a sample.
type Series struct {
	Name   string
	Values []float64
}

// Axes say how series are drawn.
type Axes struct {
	// Seconds are the times of the samples, of which there are two at least, in order.
	Seconds []float64
	// Top is the value that the scale reaches at least.
	Top float64
	// Label writes a value.
	Label func(float64) string
	// Area fills what is below the curves.
	Area bool
}

// The place of a chart's curves in its picture, in SVG's units.
const (
	chartWidth  = 320
	chartTop    = 10
	chartBottom = 110
)

// MaxSeries is how many series one chart can have.
const MaxSeries = 3

// NewChart draws series, of which there are MaxSeries at most, on a common scale.
func NewChart(title string, a Axes, all ...Series) Chart {
	top := a.Top
	for _, s := range all {
		for _, v := range s.Values {
			top = max(top, v)
		}
	}
	first, last := a.Seconds[0], a.Seconds[len(a.Seconds)-1]
	c := Chart{Title: title, Top: a.Label(top), Span: Span(last - first)}
	for i, s := range all {
		var line strings.Builder
		for k, v := range s.Values {
			x := chartWidth * (a.Seconds[k] - first) / max(last-first, 1e-9)
			y := chartBottom - (chartBottom-chartTop)*v/max(top, 1e-9)
			fmt.Fprintf(&line, "%c%.1f %.1f", "ML"[min(k, 1)], x, y)
		}
		drawn := Curve{Name: s.Name, Class: []string{"first", "second", "third"}[i%MaxSeries], Line: line.String()}
		if a.Area {
			drawn.Area = fmt.Sprintf("%sL%d %dL0 %dZ", drawn.Line, chartWidth, chartBottom, chartBottom)
		}
		c.Curves = append(c.Curves, drawn)
	}
	return c
}
