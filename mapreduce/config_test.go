package mapreduce

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
	"github.com/trilith-go/trilith/transport"
)

// Whatever is wrong with a configuration, the error names the field, and nothing is
// left running.
func TestBadConfigurationsOfProcessesNameTheField(t *testing.T) {
	jobs, err := NewRegistry(wordCount)
	if err != nil {
		t.Fatal(err)
	}
	network, err := transport.NewNetwork(transport.NetworkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	check := func(field string, err error) {
		t.Helper()
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("a bad %s: %v", field, err)
		}
	}
	for field, change := range map[string]func(*CoordinatorConfig){
		"Transport": func(c *CoordinatorConfig) { c.Transport = nil }, "Addr": func(c *CoordinatorConfig) { c.Addr = "" },
		"Jobs": func(c *CoordinatorConfig) { c.Jobs = nil }, "FileSystem": func(c *CoordinatorConfig) { c.FileSystem = nil },
		"WorkerTimeout": func(c *CoordinatorConfig) { c.WorkerTimeout = -1 }, "Grace": func(c *CoordinatorConfig) { c.Grace = -time.Second },
		"History": func(c *CoordinatorConfig) { c.History = maxHistory + 1 },
		"Dir":     func(c *CoordinatorConfig) { c.Dir, c.OpenLog = "x", func(Machine) (Log, error) { return nil, nil } },
	} {
		cfg := CoordinatorConfig{Transport: network.Host("c"), Addr: "c:1", Jobs: jobs, FileSystem: newMemoryFiles(), Build: "test", disk: vfs.NewMemory(1)}
		change(&cfg)
		_, err := StartCoordinator(t.Context(), cfg)
		check("CoordinatorConfig."+field, err)
	}
	for field, change := range map[string]func(*WorkerConfig){
		"Transport": func(c *WorkerConfig) { c.Transport = nil }, "Addr": func(c *WorkerConfig) { c.Addr = "" },
		"Coordinators": func(c *WorkerConfig) { c.Coordinators = nil }, "Jobs": func(c *WorkerConfig) { c.Jobs = nil },
		"FileSystem": func(c *WorkerConfig) { c.FileSystem = nil }, "Slots": func(c *WorkerConfig) { c.Slots = maxSlots + 1 },
		"Memory": func(c *WorkerConfig) { c.Memory = 1 }, "Kinds": func(c *WorkerConfig) { c.Kinds = []TaskKind{7} },
		"Labels": func(c *WorkerConfig) { c.Labels = []string{""} },
	} {
		cfg := WorkerConfig{Transport: network.Host("w"), Addr: "w:1", Coordinators: []string{"c:1"}, Jobs: jobs, FileSystem: newMemoryFiles(), Build: "test", disk: vfs.NewMemory(1), Dir: "/scratch"}
		change(&cfg)
		_, err := StartWorker(t.Context(), cfg)
		check("WorkerConfig."+field, err)
	}
	for field, cfg := range map[string]ClientConfig{
		"Transport": {Coordinators: []string{"c:1"}}, "Coordinators": {Transport: network.Host("client")},
	} {
		_, err := NewClient(cfg)
		check("ClientConfig."+field, err)
	}
	for field, cfg := range map[string]RunConfig{
		"FileSystem": {}, "Workers": {FileSystem: newMemoryFiles(), Workers: -1}, "Slots": {FileSystem: newMemoryFiles(), Slots: -1},
		"Memory": {FileSystem: newMemoryFiles(), Memory: -1},
	} {
		_, err := Run(t.Context(), wordCount, Spec{Input: []string{"f"}, Output: "out"}, cfg)
		check("RunConfig."+field, err)
	}
}
