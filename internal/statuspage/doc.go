// Package statuspage is what the status pages of the systems have in common: style and
// script, which keeps a page up to date by itself, charts of values over time, and how
// sizes, numbers and spans of time are written. A page is a template of its system, made
// with [Parse], and served through [Handler]. It loads nothing from anywhere else, runs
// under a policy that allows nothing else, and is of use at any path that ends in a slash.
//
// A page has all that changes in its main element, a hidden paragraph with the id offline
// before it, and in its head
//
//	<link rel="stylesheet" href="status.css">
//	<script src="status.js" defer></script>
package statuspage
