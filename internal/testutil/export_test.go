package testutil

// Patience is how many times longer Eventually waits than it is told to.
const Patience = patience
