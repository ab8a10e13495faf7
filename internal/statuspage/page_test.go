package statuspage

import (
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Size(0), "0 B"}, {Size(999), "999 B"}, {Size(1000), "1 kB"}, {Size(999_999), "999 kB"},
		{Size(1_234_567_890), "1.23 GB"}, {Size(1<<63 - 1), "9.22 EB"},
		{Count(0), "0"}, {Count(-999), "-999"}, {Count(-1000), "-1,000"}, {Count(1234567), "1,234,567"},
		{Span(0.04), "0.0 s"}, {Span(59.9), "59.9 s"}, {Span(3723), "1h2m3s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// A chart fills its picture, whenever its first sample was.
func TestChart(t *testing.T) {
	axes := Axes{Seconds: []float64{100, 105, 110}, Top: 1, Area: true, Label: func(v float64) string { return Size(int64(v)) }}
	c := NewChart("rates", axes, Series{"read", []float64{0, 10, 20}}, Series{"written", []float64{0, 0, 0}})
	if c.Top != "20 B" || c.Span != "10.0 s" || len(c.Curves) != 2 {
		t.Errorf("the chart is %+v", c)
	}
	if got, want := c.Curves[0], (Curve{"read", "first", "M0.0 110.0L160.0 60.0L320.0 10.0", "M0.0 110.0L160.0 60.0L320.0 10.0L320 110L0 110Z"}); got != want {
		t.Errorf("the curve is %+v, want %+v", got, want)
	}
}

func TestHandler(t *testing.T) {
	files := fstest.MapFS{"page.html": {Data: []byte(`{{size .Bytes}} {{count .N}} {{double "x"}} {{template "chart" .Chart}}`)}}
	page, err := Parse(files, "page.html", template.FuncMap{"double": func(s string) string { return s + s }})
	if err != nil {
		t.Fatal(err)
	}
	axes := Axes{Seconds: []float64{0, 1}, Label: func(float64) string { return "top" }}
	h := Handler(func(w http.ResponseWriter, _ *http.Request) {
		err := page.Execute(w, map[string]any{"Bytes": int64(1000), "N": uint64(1234), "Chart": NewChart("<b>", axes, Series{"s", []float64{0, 1}})})
		if err != nil {
			t.Error(err)
		}
	}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/", 200, "1 kB 1,234 xx"}, {"GET", "/", 200, "&lt;b&gt;"}, {"GET", "/", 200, "<path"},
		{"GET", "/status.json", 200, "{}"}, {"GET", "/status.css", 200, "--ink"}, {"GET", "/status.js", 200, "fetch("},
		{"GET", "/chart.html", 404, ""}, {"GET", "/other", 404, ""}, {"POST", "/", 405, ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: status %d, %s; want %d and %q", c.method, c.path, w.Code, w.Body, c.status, c.says)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
			t.Errorf("%s %s: the policy is %q", c.method, c.path, got)
		}
	}
}
