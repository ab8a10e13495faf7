package gfs

import "github.com/trilith-go/trilith/internal/wire"

// What every command needs to get into the log, and its output out of it.

// appendCommand appends an encoded command.
func appendCommand(dst []byte, kind commandKind, m coded) []byte {
	c := coder{out: append(dst, byte(kind))}
	m.code(&c)
	return c.out
}

func (m *cmdLead) append(dst []byte) []byte      { return appendCommand(dst, commandLead, m) }
func (m *cmdCreate) append(dst []byte) []byte    { return appendCommand(dst, commandCreate, m) }
func (m *cmdMkdir) append(dst []byte) []byte     { return appendCommand(dst, commandMkdir, m) }
func (m *cmdRemove) append(dst []byte) []byte    { return appendCommand(dst, commandRemove, m) }
func (m *cmdUndelete) append(dst []byte) []byte  { return appendCommand(dst, commandUndelete, m) }
func (m *cmdRename) append(dst []byte) []byte    { return appendCommand(dst, commandRename, m) }
func (m *cmdSnapshot) append(dst []byte) []byte  { return appendCommand(dst, commandSnapshot, m) }
func (m *cmdSetAttr) append(dst []byte) []byte   { return appendCommand(dst, commandSetAttr, m) }
func (m *cmdSetPolicy) append(dst []byte) []byte { return appendCommand(dst, commandSetPolicy, m) }
func (m *cmdAddChunk) append(dst []byte) []byte  { return appendCommand(dst, commandAddChunk, m) }
func (m *cmdFork) append(dst []byte) []byte      { return appendCommand(dst, commandFork, m) }
func (m *cmdGrant) append(dst []byte) []byte     { return appendCommand(dst, commandGrant, m) }
func (m *cmdReserve) append(dst []byte) []byte   { return appendCommand(dst, commandReserve, m) }
func (m *cmdAdopt) append(dst []byte) []byte     { return appendCommand(dst, commandAdopt, m) }
func (m *cmdCollect) append(dst []byte) []byte   { return appendCommand(dst, commandCollect, m) }
func (m *cmdServer) append(dst []byte) []byte    { return appendCommand(dst, commandServer, m) }
func (m *cmdDrain) append(dst []byte) []byte     { return appendCommand(dst, commandDrain, m) }
func (m *cmdForget) append(dst []byte) []byte    { return appendCommand(dst, commandForget, m) }

// takeResult decodes the output of a command into m.
func takeResult(out []byte, m coded) error {
	rest, err := decodeOutcome(out)
	if err != nil {
		return err
	}
	var c coder
	c.dec = wire.NewDecoder(rest)
	c.in = &c.dec
	m.code(&c)
	return c.dec.Finish()
}

// takeNothing decodes the output of a command that returns nothing.
func takeNothing(out []byte) error { return takeResult(out, nothingResult{}) }

type nothingResult struct{}

func (nothingResult) code(*coder) {}

// createdResult is a createResp in the log.
type createdResult createResp

func (m *createdResult) code(c *coder) {
	number(c, &m.file)
	flag(c, &m.existed)
}

// pathResult is a path in the log.
type pathResult string

func (m *pathResult) code(c *coder) { text(c, m) }

// numberResult is a number in the log.
type numberResult uint64

func (m *numberResult) code(c *coder) { number(c, m) }

func (m *cmdLead) result(out []byte) error { return takeNothing(out) }

func (m *cmdCreate) result(out []byte) (createResp, error) {
	var r createdResult
	err := takeResult(out, &r)
	return createResp(r), err
}

// result returns the id of the directory, and whether it was there.
func (m *cmdMkdir) result(out []byte) (createResp, error) {
	var r createdResult
	err := takeResult(out, &r)
	return createResp(r), err
}

func (m *cmdRemove) result(out []byte) (hidden string, err error) {
	err = takeResult(out, (*pathResult)(&hidden))
	return hidden, err
}

func (m *cmdUndelete) result(out []byte) (path string, err error) {
	err = takeResult(out, (*pathResult)(&path))
	return path, err
}

func (m *cmdRename) result(out []byte) error    { return takeNothing(out) }
func (m *cmdSnapshot) result(out []byte) error  { return takeNothing(out) }
func (m *cmdSetAttr) result(out []byte) error   { return takeNothing(out) }
func (m *cmdSetPolicy) result(out []byte) error { return takeNothing(out) }

func (m *cmdAddChunk) result(out []byte) (r chunkResult, err error) {
	err = takeResult(out, &r)
	return r, err
}

func (m *cmdFork) result(out []byte) (r chunkResult, err error) {
	err = takeResult(out, &r)
	return r, err
}

func (m *cmdGrant) result(out []byte) error { return takeNothing(out) }

func (m *cmdReserve) result(out []byte) (first handle, err error) {
	var r numberResult
	err = takeResult(out, &r)
	return handle(r), err
}

func (m *cmdAdopt) result(out []byte) (version, error) {
	var r numberResult
	err := takeResult(out, &r)
	return version(r), err
}

func (m *cmdCollect) result(out []byte) (r collectResult, err error) {
	err = takeResult(out, &r)
	return r, err
}

func (m *cmdServer) result(out []byte) (serverID, error) {
	var r numberResult
	err := takeResult(out, &r)
	return serverID(r), err
}

func (m *cmdDrain) result(out []byte) error  { return takeNothing(out) }
func (m *cmdForget) result(out []byte) error { return takeNothing(out) }
