package vmft

// PlantReleaseEarly lets outputs leave before the backup has acknowledged them.
func PlantReleaseEarly(c *Config) { c.planted.core.releaseEarly = true }
