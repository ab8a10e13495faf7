package main

import (
	"context"
	"embed"

	"github.com/trilith-go/trilith/examples/internal/guest"
)

//go:embed guest/main.go
var guestSource embed.FS

// compileGuest builds the guest that is shipped with the example.
func compileGuest(ctx context.Context) ([]byte, error) { return guest.Build(ctx, guestSource, "guest") }
