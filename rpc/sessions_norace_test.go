//go:build !race

package rpc

const sessionsRace = false
