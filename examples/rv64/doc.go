// Rv64 runs a static riscv64 program for Linux, of Go or C, in a deterministic
// virtual machine, and can record what it does and replay it exactly:
//
//	go run ./examples/rv64 prog args…
//	go run ./examples/rv64 -record log ./cmd/server
//	go run ./examples/rv64 -replay log -until 120000000
//
// A Go package instead of a file is built first, with the Go toolchain at hand. With
// -listen 9000:8080 the guest's port 8080 is reached at 127.0.0.1:9000. With -root
// the guest finds a copy of that directory as /; what it changes there is lost with
// it unless -write-back is given, which writes it to the directory when the guest has
// ended. With -trace a line a thousandth of the way says where the guest is.
//
// A log holds all that is needed: program, files, and what came from outside. The
// replay compares the state with what was recorded every so many instructions and
// stops at the first difference; -until stops it at an instruction, and shows the
// registers and the calls that led there.
//
// Without arguments it builds a small HTTP server, serves it, sends it requests,
// records, replays, and shows that both ended in the same state.
package main
