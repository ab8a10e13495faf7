package gfs

import "strings"

// An identity is who asks: a user, the groups that the user is in, and whether no
// permission is needed. The empty user owns nothing.
type identity struct {
	user   string
	groups []string
	super  bool
}

// maxGroups is how many groups a user may be in.
const maxGroups = 256

// bound refuses an identity that is out of bounds.
func (who *identity) bound(c *coder) {
	if !validName(who.user) {
		c.in.Fail("the user name %.40q", who.user)
	}
	if len(who.groups) > maxGroups {
		c.in.Fail("%d groups", len(who.groups))
	}
	for _, g := range who.groups {
		if !validName(g) {
			c.in.Fail("the group name %.40q", g)
		}
	}
}

// validName reports whether a user or group may have a name.
func validName(name string) bool {
	return len(name) <= MaxName && strings.IndexByte(name, 0) < 0
}

// in reports whether the user is in a group.
func (who *identity) in(group string) bool {
	for _, g := range who.groups {
		if g == group {
			return g != ""
		}
	}
	return false
}

// The permissions that an operation needs, as in the lowest three mode bits.
const (
	mayRead   = 4 // files: their content; directories: their list
	mayWrite  = 2 // directories: make, remove and rename what is in them
	mayEnter  = 1 // directories: reach what is in them
	mayChange = mayWrite | mayEnter
)

// owns reports whether who may do what owners may.
func (m *metadata) owns(who *identity, owner nameID) bool {
	return who.super || who.user != "" && m.names.names[owner] == who.user
}

// permits reports whether mode bits permit something, as POSIX has it: one class counts,
// that of the owner, or else that of the group, or else that of others.
func (m *metadata) permits(who *identity, mode uint32, owner, group nameID, want uint32) bool {
	if who.super {
		return true
	}
	var have uint32
	switch {
	case who.user != "" && m.names.names[owner] == who.user:
		have = mode >> 6
	case mode>>3&7 == mode&7: // whether in the group or not
		have = mode
	case who.in(m.names.names[group]):
		have = mode >> 3
	default:
		have = mode
	}
	return have&want == want
}
