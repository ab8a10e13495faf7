// Package local is what example programs have in common: signals, flags, of the same
// names everywhere, errors and exit statuses; and, where they run a job in their own
// process, input as files, directories and patterns of the operating system, output
// that goes to a directory or is shown and removed, progress on a terminal, and a limit
// of memory.
package local
