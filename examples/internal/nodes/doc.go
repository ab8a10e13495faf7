// Package nodes is what example programs have in common that show nodes of package vmft at
// work: a [Group] of them, as processes that the program starts of itself or on hosts of a
// network in memory; what happens to them, as an [Event] each; and [Scenes], in which a
// primary is killed and the timeline of what follows is printed.
package nodes
