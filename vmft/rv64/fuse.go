package rv64

// fuse makes one instruction of pairs that often follow one another.
func fuse(code []inst) []inst { return code }
