package statelog

// PlantReleaseEarly lets outputs leave before the log is safe.
func PlantReleaseEarly(c *Config) { c.planted.releaseEarly = true }

// PlantConfirmEarly lets Confirm return before what was read is safe.
func PlantConfirmEarly(c *Config) { c.planted.confirmEarly = true }

// PlantEpochUnsynced lets Lead tell an epoch that is not durable.
func PlantEpochUnsynced(c *Config) { c.planted.epochUnsynced = true }

// PlantFreshTime gives a replayed command the time of the replay.
func PlantFreshTime(c *Config) { c.planted.freshTime = true }
