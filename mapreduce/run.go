package mapreduce

import (
	"fmt"
)

// RunConfig says where Run and RunSequential work. The zero value of each field
// but FileSystem means its default.
type RunConfig struct {
	// FileSystem takes the output, and holds the input unless Input is set.
	FileSystem FileSystem
	// Input holds the input. Default: FileSystem.
	Input FileSystem
}

func (c RunConfig) withDefaults() RunConfig {
	if c.Input == nil {
		c.Input = c.FileSystem
	}
	return c
}

func (c *RunConfig) validate() error {
	if c.FileSystem == nil {
		return fmt.Errorf("%w: RunConfig.FileSystem is missing", ErrConfig)
	}
	return nil
}

// Result is what is known of a job that has succeeded.
type Result struct {
	// Files are the names of the output files, one a partition.
	Files []string
	// Maps and Reduces are the numbers of tasks, M and R.
	Maps, Reduces int
	// InputBytes is the size of the input.
	InputBytes int64
}
