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
		{name: "by other means", rules: Rules{Bubble: "kit/Bubble"}, files: map[string]string{
			"a/a.go": `package a

import "time"

func F() {
	<-time.After(1) // want §waiting for a timer alone in a library cannot be cancelled§
}
`,
			"a/a_test.go": `package a

import (
	"time"

	"m/kit"
)

var c = make(chan int)

func TestA(t *testing.T) {
	<-time.After(1) // want §waiting for a timer alone outside§
	<-(time.After(1)) // want §a timer alone§
	for range time.Tick(1) { // want §a ticker alone§
	}
	<-time.NewTimer(1).C // want §a timer alone§
	tick, end := time.NewTicker(1), time.After(5)
	<-tick.C // want §a timer alone§
	now := <-end // want §a timer alone§
	for range tick.C { // want §a ticker alone§
	}
	select {
	case <-time.After(1): // want §a timer alone§
	}
	select {
	case <-c:
		<-time.After(1) // want §a timer alone§
	case <-time.After(1):
	}
	var late = time.After(1)
	select {
	case <-late: // want §a timer alone§
	case <-time.After(2): // want §a timer alone§
	}
	kit.Bubble(t, func(t *testing.T) { <-time.After(1) })
}

func TestB(t *testing.T) {
	end := time.After(5)
	timer := time.NewTimer(1)
	var tick C
	select {
	case now := <-timer.C:
	case <-end:
	case c <- 1:
	case <-time.Tick(1):
	}
	select {
	case <-time.After(1):
	default:
	}
	<-tick.C
	<-c
}

//lint:bubble
func settle() { <-time.After(1) }
`,
		}},
		{name: "excused", rules: Rules{Pauses: map[string]string{"a/a_test.go:f": "it must", "a/b_test.go": "it must too"}}, files: map[string]string{
			"a/a_test.go": "package a\n\nimport \"time\"\n\nfunc f() { <-time.After(1) }\n\nfunc g() { time.Sleep(1) } // want `outside`",
			"a/b_test.go": "package a\n\nimport \"time\"\n\nvar h = func() { time.Sleep(1) }\n\nfunc k() { time.Sleep(1) } // want `outside`",
		}},
		{name: "excused without need", rules: Rules{Pauses: map[string]string{"a/a_test.go:f": "it must", "a/a_test.go:g": ""}}, files: map[string]string{
			"a/a_test.go": "package a\n\nimport \"time\"\n\nfunc f() { f() }\n\nfunc g() { time.Sleep(1) } // want `outside`",
		}, also: []string{`^a/a_test.go:f:1: does not sleep`, `^a/a_test.go:g:1: does not sleep \(any more\), or has no reason to`}},
	})
}
