package lint

import "testing"

func TestSleeps(t *testing.T) {
	play(t, sleeps, []scene{
		{name: "in bubbles", rules: Rules{Sleeper: "a/poll.go", Bubble: "kit/Bubble"}, files: map[string]string{
			"a/poll.go":   "package a\n\nimport \"time\"\n\nfunc Poll() { time.Sleep(1) }",
			"cmd/main.go": "package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(1) }",
			"a/a_test.go": `package a

import (
	"testing"
	"time"

	"m/kit"
)

func TestA(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		go func() { time.Sleep(1) }()
	})
	bubble(t, func() { time.Sleep(1) })
	k.bubble(t, func() { time.Sleep(1) })
}

// bubble runs f in a bubble.
//
//lint:bubble
func bubble(t *testing.T, f func()) {
	time.Sleep(1)
	kit.Bubble(t, func(t *testing.T) { f() })
}

//lint:bubble
func settle() { time.Sleep(1) }
`,
			"a/atest/a.go": "package atest",
			"a/atest/b.go": "// What follows is called in bubbles.\n//\n//lint:bubble\npackage atest\n\nimport \"time\"\n\nfunc F() { time.Sleep(1) }",
			"a/b_test.go":  "package a\n\nfunc TestB(t *testing.T) { bubble(t, func() { time.Sleep(1) }) }",
		}},
		{name: "outside", rules: Rules{Bubble: "kit/Bubble"}, files: map[string]string{
			"a/a.go":           "package a\n\nimport \"time\"\n\nfunc F() { time.Sleep(1) } // want `cannot be cancelled`",
			"b/btest/b.go":     "package btest\n\nimport \"time\"\n\nfunc F() { time.Sleep(1) } // want `outside a synctest bubble`",
			"cmd/main_test.go": "package main\n\nimport \"time\"\n\nfunc F() { time.Sleep(1) } // want `outside a synctest bubble`",
			"a/a_test.go": `package a

import (
	"testing"
	"testing/synctest"
	nap "time"

	"m/kit"
)

func TestA(t *testing.T) {
	nap.Sleep(1) // want §outside§
	kit.Bubble(t, func(t *testing.T) { nap.Sleep(1) })
	kit.Bubble(t, wrap(func() { nap.Sleep(1) })) // want §outside§
	f := nap.Sleep // want §outside§
	synctest.Test(t, nil) // want §race detector§
	t.Run("", func(t *testing.T) { nap.Sleep(1) }) // want §outside§
}
`,
		}},
	})
}
