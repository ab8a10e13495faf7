package mapreduce

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// §3.1: "The Map invocations are distributed across multiple machines by automatically
// partitioning the input data into a set of M splits. [...] Reduce invocations are
// distributed by partitioning the intermediate key space into R pieces using a
// partitioning function (e.g., hash(key) mod R)."
func TestPaper31SplitsAndPartitions(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "word%d\n", i)
	}
	const splitBytes, reduces = 500, 5
	files := newMemoryFiles()
	result, err := Run(t.Context(), wordCount, Spec{Input: []string{"f"}, Output: "out", Reduces: reduces, SplitBytes: splitBytes},
		RunConfig{FileSystem: files, Input: ReadOnly(fstest.MapFS{"f": {Data: []byte(text.String())}}), Workers: 2, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if want := (text.Len() + splitBytes - 1) / splitBytes; result.Maps != want {
		t.Errorf("%d bytes are %d splits, want %d", text.Len(), result.Maps, want)
	}
	var words []string
	for _, name := range result.Files {
		content, err := read(t, files, name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
		if len(lines) < 100 || len(lines) > 300 {
			t.Errorf("%s has %d keys of 1000, want about 200", name, len(lines))
		}
		words = append(words, lines...)
	}
	slices.Sort(words)
	if len(words) != 1000 || len(slices.Compact(words)) != 1000 || !strings.HasSuffix(words[999], "\t1") {
		t.Errorf("there are %d words, want each of 1000 once", len(words))
	}
}

// §3.5: the master "keeps O(M∗R) state in memory [...]. (The constant factors for memory
// usage are small however: the O(M∗R) piece of the state consists of approximately one
// byte of data per map task/reduce task pair.)"
func TestPaper35Granularity(t *testing.T) {
	const maps, reduces = 300, 1000
	c := newCore(t)
	c.big = true
	c.join(10, 10)
	c.submit(testJob("a", maps, reduces))
	for c.tasks.jobs[1].completed[MapTask] < maps {
		c.complete(MapTask)
	}
	var image bytes.Buffer
	if _, err := c.tasks.freeze().WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	if perPair := float64(image.Len()) / maps / reduces; perPair < 1 || perPair > 1.2 {
		t.Errorf("the table has %.2f bytes for each pair of map and reduce, want about one", perPair)
	}
}
