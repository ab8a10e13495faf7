// Echo prints its arguments and its input.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	fmt.Println(os.Args[1:])
	io.Copy(os.Stdout, os.Stdin)
	os.Exit(3)
}
