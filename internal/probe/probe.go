package probe

import "context"

// A MasterCore is the core of a gfs master, alone: what is durable, and what it knows of
// replicas. It is used by one goroutine, but for Lookup.
type MasterCore interface {
	// Create creates a file, with the directories above it.
	Create(path string) error
	// AddChunk adds the first chunk of a file.
	AddChunk(path string) error
	// Report has chunkservers report so many replicas of each chunk.
	Report(replicas int) error
	// Lookup returns where the first chunk of a file is to be found. It may be called
	// concurrently.
	Lookup(path string) error
}

// NewMasterCore returns the core of a master of a new cluster. Package gfs sets it.
var NewMasterCore func() (MasterCore, error)

// ReplicaBytes is what the list of a chunk's replicas takes for each. Package gfs sets it.
var ReplicaBytes int

// FillMaster makes a directory for a gfs master with files of one chunk each, most of
// them in a checkpoint and the rest in the log after it. Package gfs sets it.
var FillMaster func(ctx context.Context, dir string, files int, name func(i int) string) error
