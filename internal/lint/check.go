package lint

import (
	"cmp"
	"slices"
)

// A Check finds the violations of one rule.
type Check struct {
	Name string
	Run  func(*Tree, *Rules) []Finding
}

// Checks are all the checks there are.
var Checks = []Check{
	{"parse", func(t *Tree, _ *Rules) []Finding { return t.Broken }},
	{"layers", layers},
	{"dependencies", dependencies},
	{"modules", modules},
	{"cores", cores},
	{"packages", packages},
	{"documentation", documentation},
	{"examples", examples},
	{"fuzzing", fuzzing},
	{"sleeps", sleeps},
	{"sizes", sizes},
	{"conduct", conduct},
	{"exceptions", exceptions},
	{"unfinished", unfinished},
}

// sorted orders findings by place, so that a run can be compared with the next.
func sorted(found []Finding) []Finding {
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return found
}
