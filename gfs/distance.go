package gfs

import "strings"

// Distances. Where two places have no labels to compare, the addresses decide: the
// longer the prefix that they share, the nearer they are (§3.2), and all such
// distances are less than that to another rack.
const (
	distanceHost = 0
	distanceRack = 1 << 10 // of another rack
	distanceZone = 1 << 11 // of another zone
)

// distance says how far apart two places are: 0 on one host, and the more the
// further. Only how distances compare means something.
func distance(a, b *location) int {
	switch {
	case addressHost(a.addr) == addressHost(b.addr):
		return distanceHost
	case a.zone != b.zone:
		return distanceZone + addressDistance(a.addr, b.addr)
	case a.rack != b.rack:
		return distanceRack + addressDistance(a.addr, b.addr)
	}
	return addressDistance(a.addr, b.addr)
}

// addressHost is an address without its port.
func addressHost(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return addr[:i]
	}
	return addr
}

// addressDistance is 1 at least and less than distanceRack: what is left of the
// longest after the prefix that two hosts share.
func addressDistance(a, b string) int {
	a, b = addressHost(a), addressHost(b)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return min(1+max(len(a), len(b))-n, distanceRack-1)
}

// chainByDistance sorts places so that each is the nearest to the one before of those
// that are left, the first being the nearest to from: the chain along which data is
// pushed (§3.2).
func chainByDistance(from *location, places []location) {
	at := *from
	for i := range places {
		next := i
		for j := i + 1; j < len(places); j++ {
			if distance(&at, &places[j]) < distance(&at, &places[next]) {
				next = j
			}
		}
		places[i], places[next] = places[next], places[i]
		at = places[i]
	}
}
