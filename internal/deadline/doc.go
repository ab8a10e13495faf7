// Package deadline has deadlines as connections need them: moved at any time, waited for
// with a channel.
package deadline
