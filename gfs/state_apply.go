package gfs

import (
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// apply carries out a command and appends its output to dst: an outcome, and what the
// command returns or why it was refused. at is the log's time.
func (m *metadata) apply(at time.Time, cmd, dst []byte) []byte {
	start := len(dst)
	dst = append(dst, byte(outcomeOK))
	c := &m.scratch
	if len(cmd) == 0 {
		return appendOutcome(dst, start, &refusal{outcome: outcomeMalformed})
	}
	c.dec = wire.NewDecoder(cmd[1:])
	c.in, c.out = &c.dec, dst
	err := m.applyPath(at, commandKind(cmd[0]), c)
	dst = c.out
	c.dec, c.out = wire.Decoder{}, nil
	return appendOutcome(dst, start, err)
}

// take decodes a command, and refuses one of an older epoch.
func (m *metadata) takeCommand(c *coder, cmd coded, epoch *uint64) error {
	cmd.code(c)
	if err := c.dec.Finish(); err != nil {
		return err
	}
	if *epoch < m.epoch {
		return refuse(outcomeOldEpoch, "", "epoch %d; it is epoch %d now", *epoch, m.epoch)
	}
	return nil
}

// give encodes what a command returns.
func (c *coder) give(r coded) {
	c.in = nil
	r.code(c)
}

// applyPath carries out the commands that are about paths.
func (m *metadata) applyPath(at time.Time, kind commandKind, c *coder) error {
	switch kind {
	case commandCreate:
		cmd := new(cmdCreate)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		r, err := m.create(cmd)
		c.give((*createdResult)(&r))
		return err
	case commandMkdir:
		cmd := new(cmdMkdir)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		r, err := m.mkdir(cmd)
		c.give((*createdResult)(&r))
		return err
	case commandRemove:
		cmd := new(cmdRemove)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		path, err := m.remove(at, cmd)
		c.give((*pathResult)(&path))
		return err
	case commandUndelete:
		cmd := new(cmdUndelete)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		path, err := m.undelete(cmd)
		c.give((*pathResult)(&path))
		return err
	case commandRename:
		cmd := new(cmdRename)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.rename(cmd)
	case commandSnapshot:
		cmd := new(cmdSnapshot)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.snapshot(cmd)
	case commandSetAttr:
		cmd := new(cmdSetAttr)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.setAttr(cmd)
	case commandSetPolicy:
		cmd := new(cmdSetPolicy)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.setPolicy(cmd)
	}
	return m.applyChunk(at, kind, c)
}

// applyChunk carries out the commands that are about chunks.
func (m *metadata) applyChunk(at time.Time, kind commandKind, c *coder) error {
	switch kind {
	case commandAddChunk:
		cmd := new(cmdAddChunk)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		r, err := m.addChunk(cmd)
		c.give(&r)
		return err
	case commandFork:
		cmd := new(cmdFork)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		r, err := m.fork(cmd)
		c.give(&r)
		return err
	case commandGrant:
		cmd := new(cmdGrant)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.grant(cmd)
	case commandReserve:
		cmd := new(cmdReserve)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		first, err := m.reserve(cmd.n)
		r := numberResult(first)
		c.give(&r)
		return err
	case commandAdopt:
		cmd := new(cmdAdopt)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		v, err := m.adopt(cmd)
		r := numberResult(v)
		c.give(&r)
		return err
	case commandCollect:
		cmd := new(cmdCollect)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		r, err := m.collect(at, cmd)
		c.give(&r)
		return err
	}
	return m.applyServer(kind, c)
}

// applyServer carries out the commands that are about masters and chunkservers.
func (m *metadata) applyServer(kind commandKind, c *coder) error {
	switch kind {
	case commandLead:
		cmd := new(cmdLead)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		if m.chunkSize != 0 && m.chunkSize != cmd.chunkSize || cmd.chunkSize <= 0 || cmd.chunkSize > MaxChunkSize {
			return refuse(outcomeInvalid, "", "chunks of %d bytes; those of this cluster have %d", cmd.chunkSize, m.chunkSize)
		}
		m.epoch, m.chunkSize = cmd.epoch, cmd.chunkSize
		return nil
	case commandServer:
		cmd := new(cmdServer)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		id, err := m.server(cmd)
		r := numberResult(id)
		c.give(&r)
		return err
	case commandDrain:
		cmd := new(cmdDrain)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.setServer(cmd.server, func(s *serverRow) { s.draining = cmd.on })
	case commandForget:
		cmd := new(cmdForget)
		if err := m.takeCommand(c, cmd, &cmd.epoch); err != nil {
			return err
		}
		return m.setServer(cmd.server, func(s *serverRow) { s.forgotten = true })
	}
	return &refusal{outcome: outcomeMalformed, why: "no such command"}
}
