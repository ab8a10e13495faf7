package mapreduce

import "unsafe"

// viewString returns b as a string without copying. b must never change again.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns the bytes of s without copying. They must not be changed.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
