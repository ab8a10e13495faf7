package gfs_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/trilith-go/trilith/gfs"
	"github.com/trilith-go/trilith/gfs/gfstest"
	"github.com/trilith-go/trilith/internal/testutil"
)

// §5.3: at level trace servers log which calls they serve, for whom, and what came of it,
// without the data of files; at other levels, nothing.
func TestPaperCallsAreLogged(t *testing.T) {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug} {
		t.Run(level.String(), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				var log testutil.Text
				c := gfstest.Start(t, gfstest.Config{
					Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: level}), Client: gfs.ClientConfig{User: "ann"},
				})
				data := bytes.Repeat([]byte("confidential "), 1000)
				if err := c.Client().WriteFile(t.Context(), "note", data, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Client().ReadFile(t.Context(), "note"); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Client().Open(t.Context(), "absent"); err == nil {
					t.Fatal("opened what is not there")
				}
				served := make(map[string]string)
				for line := range strings.Lines(log.String()) {
					if _, rest, ok := strings.Cut(line, "served: method="); ok {
						method, about, _ := strings.Cut(rest, " ")
						served[method] += about
					}
				}
				if strings.Contains(log.String(), "confidential") {
					t.Error("what is in a file is in the log")
				}
				if level != hclog.Trace {
					if len(served) > 0 {
						t.Errorf("logged at level %v: %v", level, served)
					}
					return
				}
				for method, want := range map[string][]string{
					"gfs.Create": {"user=ann", "path:.", "session=", "took="}, "gfs.Stat": {"absent", "error="},
					"gfs.Write": {"handle:1"}, "gfs.Apply": {"handle:1"}, "gfs.Read": {"handle:1"}, "gfs.Register": {"addr:chunk"},
				} {
					for _, w := range want {
						if !strings.Contains(served[method], w) {
							t.Errorf("of %s the log has not %q: %.400s", method, w, served[method])
						}
					}
				}
			})
		})
	}
}
