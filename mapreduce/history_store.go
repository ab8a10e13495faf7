package mapreduce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/trilith-go/trilith/internal/vfs"
)

// historyStore keeps the reports of jobs that have ended in a directory, each in a
// file of its own, as JSON. It is for people to look at: if it fails, it fails
// alone. Its methods are not for concurrent use.
type historyStore struct {
	fs   vfs.FS
	dir  string
	keep int
}

const (
	historyDir    = "history" // in the coordinator's directory
	historyPrefix = "job-"
	historySuffix = ".json"
)

// name returns the name of a job's file. Names sort as the jobs' ids do.
func (s *historyStore) name(id JobID) string {
	return fmt.Sprintf("%s%020d%s", historyPrefix, id, historySuffix)
}

// list returns the names of all reports there are, the oldest first.
func (s *historyStore) list() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries { // sorted by name
		if strings.HasPrefix(e.Name(), historyPrefix) && strings.HasSuffix(e.Name(), historySuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// load returns the latest reports; with an error, those that it could read.
func (s *historyStore) load() ([]*JobReport, error) {
	names, err := s.list()
	if err != nil {
		return nil, err
	}
	var reports []*JobReport
	var errs []error
	for _, name := range names[max(0, len(names)-s.keep):] {
		data, err := vfs.ReadFile(s.fs, filepath.Join(s.dir, name))
		r := &JobReport{}
		if err == nil {
			err = json.Unmarshal(data, r)
		}
		if err == nil && (s.name(r.ID) != name || r.Details == nil) {
			err = errors.New("it is not the report that its name says")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		reports = append(reports, r)
	}
	return reports, errors.Join(errs...)
}

// save writes reports, and removes the oldest if there are too many.
func (s *historyStore) save(reports []*JobReport) error {
	if err := vfs.MkdirAllSync(s.fs, s.dir); err != nil {
		return err
	}
	for _, r := range reports {
		data, err := json.Marshal(r)
		if err == nil {
			err = vfs.WriteFile(s.fs, filepath.Join(s.dir, s.name(r.ID)), data)
		}
		if err != nil {
			return err
		}
	}
	names, err := s.list()
	if err != nil {
		return err
	}
	for _, name := range names[:max(0, len(names)-s.keep)] {
		if err := s.fs.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// openHistory reads what is kept of jobs that ended before the coordinator started.
func (c *Coordinator) openHistory() {
	h := c.ledger.history
	h.keep = c.cfg.History
	if c.cfg.Dir == "" {
		return
	}
	c.store = &historyStore{fs: c.cfg.disk, dir: filepath.Join(c.cfg.Dir, historyDir), keep: c.cfg.History}
	reports, err := c.store.load()
	if err != nil {
		c.cfg.Logger.Warn("cannot read all of the job history", "dir", c.store.dir, "error", err)
	}
	h.restore(reports)
}

// record takes samples and saves reports while the coordinator leads.
func (c *Coordinator) record(term context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		var over bool
		select {
		case <-tick.C:
		case <-term.Done():
			over = true
		}
		c.ledger.mu.Lock()
		if s := c.ledger.schedule; s != nil {
			c.ledger.history.sample(time.Now(), c.ledger.tasks, func(id JobID) map[string]int64 { return s.status(id).Counters })
		}
		reports := c.ledger.history.takeUnsaved()
		c.ledger.mu.Unlock()
		if len(reports) > 0 && c.store != nil {
			if err := c.store.save(reports); err != nil {
				c.cfg.Logger.Warn("cannot save the job history", "dir", c.store.dir, "error", err)
			}
		}
		if over {
			return
		}
	}
}
