package vmft

// PlantReleaseEarly lets outputs leave before the backup has acknowledged them.
func PlantReleaseEarly(c *Config) { c.planted.core.releaseEarly = true }

// PlantAckInputEarly lets inputs of a processor count as safe when they are on their way.
func PlantAckInputEarly(c *Config) { c.planted.core.ackInputEarly = true }

// PlantSocketEarly lets what a stream sends leave before the backup has acknowledged it.
func PlantSocketEarly(c *Config) { c.planted.core.socketEarly = true }

// PlantRunPast lets a backup's processor run past the last entry.
func PlantRunPast(c *Config) { c.planted.core.runPast = true }

// PlantForgetPending lets a new primary do nothing again.
func PlantForgetPending(c *Config) { c.planted.core.forgetPending = true }

// PlantReissueAnyhow lets a new primary do again what is pending in another order.
func PlantReissueAnyhow(c *Config) { c.planted.core.reissueAnyhow = true }

// PlantHalfDelta lets a backup take over what has come of a delta.
func PlantHalfDelta(c *Config) { c.planted.core.halfDelta = true }

// SetDeltaPart has deltas sent in parts of so many bytes.
func SetDeltaPart(c *Config, part int) { c.planted.deltaPart = part }
