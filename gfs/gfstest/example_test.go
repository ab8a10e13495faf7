package gfstest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/trilith-go/trilith/gfs/gfstest"
)

// The usual use. In the test of a package of its own it is the function
// TestSurvivors(t *testing.T).
func ExampleStart() {
	testSurvivors := func(t *testing.T) {
		c := gfstest.Start(t, gfstest.Config{Chunkservers: 4, Racks: 2})
		client := c.Client()
		if err := client.WriteFile(context.Background(), "f", []byte("still here"), 0o644); err != nil {
			t.Fatal(err)
		}
		c.KillChunkserver(0)
		c.WipeChunkserver(0)
		if data, err := client.ReadFile(context.Background(), "f"); err != nil {
			t.Errorf("%q, %v", data, err)
		}
	}
	fmt.Println(testSurvivors != nil)
	// Output: true
}
