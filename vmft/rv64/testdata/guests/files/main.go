// Files changes the tree that it finds.
package main

import (
	"fmt"
	"os"
)

func main() {
	for _, err := range []error{
		os.WriteFile("/changed", []byte("after"), 0o600),
		os.Mkdir("/new", 0o755),
		os.WriteFile("/new/file", make([]byte, 200_000), 0o640),
		os.Mkdir("/empty", 0o700),
		os.Remove("/gone"),
		os.RemoveAll("/dir/sub"),
		os.Rename("/old", "/dir/moved"),
		os.Remove("/kind"),
		os.Mkdir("/kind", 0o755),
		os.WriteFile("/kind/x", nil, 0o644),
		os.Chmod("/script", 0o755),
		os.Symlink("changed", "/good"),
		os.Symlink("/etc/passwd", "/absolute"),
		os.Symlink("../../outside", "/new/outside"),
		os.WriteFile("/dev/null", []byte("x"), 0),
	} {
		if err != nil {
			fmt.Println(err)
		}
	}
}
