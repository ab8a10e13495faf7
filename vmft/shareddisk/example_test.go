package shareddisk_test

import (
	"fmt"
	"os"

	"github.com/trilith-go/trilith/vmft/shareddisk"
)

// A disk in a directory that all hosts reach. What is there of another kind is left alone.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	disk, err := shareddisk.Open(shareddisk.Directory(dir), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("open:", disk.Close() == nil)
	if err := os.WriteFile(dir+"/disk", []byte("something else"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	_, err = shareddisk.Open(shareddisk.Directory(dir), nil)
	fmt.Println(err)
	// Output:
	// open: true
	// shareddisk: the shared disk is damaged, or is none: the file "disk" begins with "something else"
}
