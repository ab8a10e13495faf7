package local

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// GoSource asks the go command where the source of the Go distribution is.
func GoSource() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err == nil && root == "" {
		err = errors.New("it prints nothing")
	}
	if err != nil {
		return "", fmt.Errorf("cannot find the Go distribution by \"go env GOROOT\": %w", err)
	}
	// It may be a link, which patterns do not follow.
	return filepath.EvalSymlinks(filepath.Join(root, "src"))
}
