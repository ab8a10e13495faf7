package lint

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A scene is a few lines of source and what a check has to say about them. A line
// on which a finding is due ends in a comment, // want `regexp`; the backquotes
// may be written as §, since a raw string can't hold them.
type scene struct {
	name  string
	files map[string]string
	rules Rules
	also  []string // regexps of findings on lines that can't say so themselves
}

var want = regexp.MustCompile("// want `(.*)`")

// play runs a check on scenes: it has to find what they want and nothing else.
func play(t *testing.T, run func(*Tree, *Rules) []Finding, scenes []scene) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			fsys := fstest.MapFS{"go.mod": {Data: []byte("module example.org/m\n\ngo 1.26\n")}}
			missing := make(map[string]string) // path:line → regexp
			for _, name := range slices.Sorted(maps.Keys(s.files)) {
				text := strings.ReplaceAll(s.files[name], "§", "`")
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
				for i, line := range strings.Split(text, "\n") {
					if m := want.FindStringSubmatch(line); m != nil {
						missing[Finding{Path: name, Line: i + 1}.place()] = m[1]
					}
				}
			}
			tree, err := Load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range tree.Broken {
				t.Fatalf("the scene itself: %v", f)
			}
			also := slices.Clone(s.also)
			for _, f := range run(tree, &s.rules) {
				pattern, ok := missing[f.place()]
				if ok && regexp.MustCompile(pattern).MatchString(f.Text) {
					delete(missing, f.place())
					continue
				}
				i := slices.IndexFunc(also, func(p string) bool { return regexp.MustCompile(p).MatchString(f.String()) })
				if i < 0 {
					t.Errorf("not wanted: %v", f)
					continue
				}
				also = slices.Delete(also, i, i+1)
			}
			for _, place := range slices.Sorted(maps.Keys(missing)) {
				t.Errorf("%s: nothing found that matches %q", place, missing[place])
			}
			for _, p := range also {
				t.Errorf("nothing found that matches %q", p)
			}
		})
	}
}

// place returns path:line.
func (f Finding) place() string {
	f.Text = ""
	return f.String()
}
