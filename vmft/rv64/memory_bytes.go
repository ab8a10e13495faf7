package rv64

// read and write copy between the guest's memory and a buffer, with the guest's
// permissions. They do all or nothing, apart from which pages are resident.

func (m *memory) readBytes(addr uint64, b []byte) bool {
	for done := 0; done < len(b); {
		a := addr + uint64(done)
		if m.fillRead(a) == nil {
			return false
		}
		done += copy(b[done:], m.peek(a)[a&pageMask:])
	}
	return true
}

func (m *memory) writeBytes(addr uint64, b []byte) bool {
	if !m.writable(addr, uint64(len(b))) {
		return false
	}
	for done := 0; done < len(b); {
		a := addr + uint64(done)
		done += copy(m.fillWrite(a)[a&pageMask:], b[done:])
	}
	return true
}

// writable makes all pages of a range ready for writing.
func (m *memory) writable(addr, n uint64) bool {
	if n > addressEnd || addr > addressEnd-n {
		return n == 0 || m.fail(faultUnmapped, addr)
	}
	for a := addr &^ pageMask; a < addr+n; a += pageSize {
		if m.fillWrite(a) == nil {
			return false
		}
	}
	return true
}

// readable reports whether a range may be read.
func (m *memory) readable(addr, n uint64) bool {
	if n > addressEnd || addr > addressEnd-n {
		return n == 0 || m.fail(faultUnmapped, addr)
	}
	for a := addr &^ pageMask; a < addr+n; a += pageSize {
		if !m.permitted(a, permRead) {
			return false
		}
	}
	return true
}

// readString reads up to a zero byte. ok is false if there is none within limit
// bytes (then the fault is faultNone) or the memory can't be read.
func (m *memory) readString(addr uint64, limit int) (s string, ok bool) {
	var b []byte
	for len(b) < limit {
		if m.fillRead(addr) == nil {
			return "", false
		}
		part := m.peek(addr)[addr&pageMask:]
		for i, c := range part {
			if c == 0 {
				return string(append(b, part[:i]...)), true
			}
		}
		b = append(b, part...)
		addr += uint64(len(part))
	}
	m.fault.kind = faultNone
	return "", false
}
