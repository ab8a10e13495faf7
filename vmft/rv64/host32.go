//go:build 386 || arm || mips || mipsle

package rv64

// The machine needs a host whose int has 64 bits: lengths and numbers of the guest are
// kept in them. Elsewhere this is what the compiler says.
const _ = the_machine_needs_a_64_bit_host
