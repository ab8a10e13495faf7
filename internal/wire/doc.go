// Package wire reads the hand-laid binary formats of this module: the frames
// and messages of rpc, the commands and images of the state machines.
//
// Writing needs no help beyond encoding/binary's append functions; AppendString
// and AppendBytes add the one shape that they lack, a length followed by bytes.
// Reading is where the danger lies, so a Decoder does it: it never panics, never
// allocates by a length that the input merely claims, and remembers its first
// error, so that a message is decoded field by field and checked once.
//
// # What is read
//
// Integers are varints as encoding/binary has them (a longer form of a small one is
// accepted too), or 4 or 8 bytes, little end first; strings and byte slices are
// their length and their bytes; a truth value is a byte, 0 or 1; a time is its
// nanoseconds since 1970, a varint. The limits of values are the caller's, who gives
// them to Int; Count and all that borrows are limited by the input itself.
//
// All of it is pure: no goroutine, clock or I/O.
package wire
