package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A printer shows the results of one case after another.
type printer interface {
	print(kase string, results []result) error
}

// table prints a paragraph for each case, with a line for each subject.
type table struct {
	w     io.Writer
	suite *suite
}

func (t *table) print(kase string, results []result) error {
	if len(results) == 0 {
		return nil
	}
	base, baseline := 0.0, t.suite.baseline(kase)
	for _, r := range results {
		if r.subject == baseline {
			base = r.metrics[0].value
		}
	}
	w := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\t", kase)
	for _, m := range results[0].metrics {
		fmt.Fprintf(w, "%s\t", m.name)
	}
	if base > 0 {
		fmt.Fprintf(w, "of %s\t", baseline)
	}
	fmt.Fprintln(w)
	for _, r := range results {
		fmt.Fprintf(w, "%s\t", r.subject)
		for _, m := range r.metrics {
			fmt.Fprintf(w, "%s\t", figure(m.value))
		}
		if base > 0 {
			fmt.Fprintf(w, "%.2f\t", r.metrics[0].value/base)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// figure writes a value with about three digits that count, thousands apart.
func figure(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte('\'')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// lines prints a JSON object a line.
type lines struct {
	w     io.Writer
	suite string
}

func (l *lines) print(kase string, results []result) error {
	enc := json.NewEncoder(l.w)
	for _, r := range results {
		for _, m := range r.metrics {
			err := enc.Encode(struct {
				Suite  string  `json:"suite"`
				Name   string  `json:"name"`
				Metric string  `json:"metric"`
				Value  float64 `json:"value"`
			}{l.suite, kase + "/" + r.subject, m.name, m.value})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
