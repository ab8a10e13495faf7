package statuspage

import (
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed status.css status.js chart.html
var assets embed.FS

// Parse parses the template of a page. It can use the functions size, of bytes, group, of
// an int64, count, of a uint64, span, of seconds, and clock, of a time, those that are
// given, and the template chart, of a Chart.
func Parse(files fs.FS, name string, funcs template.FuncMap) (*template.Template, error) {
	t := template.New(path.Base(name)).Funcs(template.FuncMap{
		"size":  Size,
		"span":  Span,
		"group": Count,
		"count": func(n uint64) string { return Count(int64(n)) },
		"clock": func(t time.Time) string { return t.Format("15:04:05") },
	}).Funcs(funcs)
	t, err := t.ParseFS(assets, "chart.html")
	if err != nil {
		return nil, err
	}
	return t.ParseFS(files, name)
}

// Handler returns a handler that serves a page and the same as JSON, which the two
// functions write, as index of a directory and as status.json in it, and what the page
// needs beside them.
func Handler(page, json http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /status.json", json)
	for _, name := range []string{"status.css", "status.js"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, assets, name)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}
