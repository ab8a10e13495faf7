// Package guest builds what example programs run in the virtual machine: a Go package, or
// sources that are shipped with the example, for linux/riscv64 with the toolchain at hand.
package guest
