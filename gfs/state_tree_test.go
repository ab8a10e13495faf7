package gfs

import (
	"errors"
	"fmt"
	"testing"
)

// A command takes on no more than a bounded part of the namespace, and says so.
func TestStateTreesThatAreTooLarge(t *testing.T) {
	r := newStateRig(t)
	r.s.data.maxTree = 4
	r.want(r.mkdir("super", "d"), nil)
	for i := range 3 {
		r.want(r.create("super", fmt.Sprint("d/", i)), nil)
	}
	head := r.head("super")
	rename := func(from, to string) error {
		c := cmdRename{head, pairReq{from, to}}
		return c.result(r.do(c.append(nil)))
	}
	snapshot := func(from, to string) error {
		c := cmdSnapshot{head, pairReq{from, to}}
		return c.result(r.do(c.append(nil)))
	}
	remove := func(path string) error {
		c := cmdRemove{head, removeReq{path: path, all: true}}
		_, err := c.result(r.do(c.append(nil)))
		return err
	}
	chmod := func(path string) error {
		c := cmdSetAttr{head, setAttrReq{path: path, all: true, mode: 0o700}}
		return c.result(r.do(c.append(nil)))
	}
	r.want(rename("d", "e"), nil)
	r.want(snapshot("e", "f"), nil)
	r.want(chmod("f"), nil)
	r.want(r.create("super", "e/more"), nil)
	for what, err := range map[string]error{
		"rename": rename("e", "d"), "snapshot": snapshot("e", "g"), "remove": remove("e"), "chmod": chmod("e"),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", what, err)
		}
	}
	quota := func(path string, p policy) error {
		c := cmdSetPolicy{head, policyReq{path: path, policy: p}}
		return c.result(r.do(c.append(nil)))
	}
	r.want(quota("e", policy{goal: 2}), nil) // which nothing is counted for
	if err := quota("e", policy{goal: 2, maxFiles: 100}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("quota: %v", err)
	}
	r.want(quota("f", policy{goal: 2}), nil)
	r.want(quota("f", policy{goal: 2, maxFiles: 4}), nil)
	r.want(r.create("super", "f/3"), nil)
	if err := r.create("super", "f/4"); !errors.Is(err, ErrQuota) {
		t.Errorf("beyond a quota: %v", err)
	}
	r.want(remove("f/3"), nil)
	if u, err := r.s.usage(head.who, "f"); err != nil || u.files != 4 || u.policy != (policy{goal: 2, maxFiles: 4}) {
		t.Errorf("usage: %+v, %v", u, err)
	}
	r.want(quota("f", policy{}), nil)
	r.want(quota("e", policy{}), nil)
	r.want(remove("f/0"), nil)
	r.want(remove("f/1"), nil)
	r.at = r.at.Add(2 * DefaultRetention)
	r.do((&cmdCollect{epoch: 1}).append(nil)) // what was hidden in f
	r.want(remove("e/more"), nil)             // is hidden, and counts still
	if err := rename("e", "d"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("rename: %v", err)
	}
	r.want(rename("e/1", "one"), nil)
	r.want(remove("e"), nil)
	r.want(remove("f"), nil)
}

// What is below a directory is counted in steps, between which commands are applied.
func TestStateUsageInSteps(t *testing.T) {
	r := newStateRig(t)
	r.quick = true
	r.want(r.mkdir("super", "d"), nil)
	r.want(r.mkdir("super", "d/e"), nil)
	const files = walkSteps + walkSteps/2
	for i := range files {
		r.want(r.create("super", fmt.Sprintf("d/e/%06d", i)), nil)
	}
	who := identity{super: true}
	var u usageCount
	more, err := r.s.usageStep(&who, "d", &u)
	if err != nil || !more || u.dirs != 1 || u.files != walkSteps-2 {
		t.Fatalf("%+v, %v, %v", u, more, err)
	}
	r.want(r.create("super", "d/e/z"), nil)
	if more, err = r.s.usageStep(&who, "d", &u); err != nil || more || u.dirs != 1 || u.files != files+1 {
		t.Errorf("%+v, %v, %v", u, more, err)
	}
	if all, err := r.s.usage(who, "d/e"); err != nil || all.files != files+1 || all.dirs != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
