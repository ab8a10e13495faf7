package vfs

import (
	"os"
	"strings"
)

// Run implements [Runner]: the kernel draws a new id each time that it starts. A disk that
// is taken out while the machine runs is beyond what it tells.
func (osFS) Run() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
