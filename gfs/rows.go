package gfs

// A chunkRow is what the durable side knows of a chunk.
type chunkRow struct {
	version version // of the last grant
	refs    uint32  // files that share it
	live    uint32  // those of them that are not removed
	goal    uint8   // replicas wanted: the most that one of the files wants
}

// A serverRow is what the durable side knows of a chunkserver.
type serverRow struct {
	id        serverID
	uuid      [16]byte
	addr      string
	rack      string
	zone      string
	draining  bool // everything is to be moved away from it
	forgotten bool // it is gone for good: nobody waits for it
}
