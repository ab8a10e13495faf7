package gfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/trilith-go/trilith/internal/testutil"
	"github.com/trilith-go/trilith/transport"
)

var tree = map[string]string{
	"a": "1", "b": "22", "dir/one": "1", "dir/two": "some more", "dir/.hidden": "", "dir/sub/deeper/x": "x",
	"dir/sub/y": "yy", "odd*name": "*", "page/1": "", "page/2": "", "page/3": "", "page/4": "", "page/5": "", "page/6": "", "page/7": "",
}

// plant makes the files of tree.
func plant(t testing.TB, c *Client) {
	t.Helper()
	for name, content := range tree {
		if err := c.MkdirAll(t.Context(), dirOf(name), 0o755); err != nil {
			t.Fatal(err)
		}
		putFile(t, c, name, []byte(content))
	}
}

func dirOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

func TestClientFSIsAnFS(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		plant(t, c)
		names := make([]string, 0, len(tree))
		for name := range tree {
			names = append(names, name)
		}
		if err := fstest.TestFS(c.FS(), names...); err != nil {
			t.Error("while files are being written:", err)
		}
		k.expire()
		if err := fstest.TestFS(c.FS(), names...); err != nil {
			t.Error(err)
		}
		sub, err := fs.Sub(c.FS(), "dir")
		if err != nil {
			t.Fatal(err)
		}
		if err := fstest.TestFS(sub, "one", "two", "sub/y", "sub/deeper/x"); err != nil {
			t.Error("of a directory:", err)
		}
		for _, pattern := range []string{"*", "dir/*", "dir/sub/../*", "**/x", "odd\\*name", "nothing", "dir/t[v-x]o", ".", "a/"} {
			want, err := fs.Glob(struct{ fs.FS }{c.FS()}, pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := fs.Glob(c.FS(), pattern); err != nil || !slices.Equal(got, want) {
				t.Errorf("Glob(%q): %q, %v, not %q", pattern, got, err, want)
			}
		}
		_, err = c.FS().Open("nothing")
		var pe *fs.PathError
		if !errors.As(err, &pe) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v (%T) is no PathError", err, err)
		}
	})
}

func TestClientFSServesHTTP(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newFake(t, 3, fakeChunkSize).dial(ClientConfig{})
		plant(t, c)
		content := noise(3*fakeChunkSize + 10)
		putFile(t, c, "big.bin", content)
		h := http.FileServerFS(c.FS())
		get := func(path, ranges string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", path, nil)
			if ranges != "" {
				r.Header.Set("Range", ranges)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		if w := get("/big.bin", ""); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), content) {
			t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
		}
		if w := get("/big.bin", "bytes=262140-262150"); w.Code != 206 || !bytes.Equal(w.Body.Bytes(), content[262140:262151]) {
			t.Errorf("range: status %d, %d bytes", w.Code, w.Body.Len())
		}
		if w := get("/dir/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `href="two"`) {
			t.Errorf("directory: status %d, %s", w.Code, w.Body)
		}
		if w := get("/none", ""); w.Code != 404 {
			t.Errorf("what is not there: status %d", w.Code)
		}
	})
}

func TestClientNames(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{User: "ann"})
		ctx := t.Context()
		plant(t, c)
		_, err := c.Create(ctx, "a")
		wantErr(t, err, fs.ErrExist)
		_, err = c.Open(ctx, "dir")
		wantErr(t, err, ErrIsDir)
		_, err = c.Open(ctx, "../a")
		wantErr(t, err, fs.ErrInvalid)
		_, err = c.Open(ctx, "none")
		wantErr(t, err, fs.ErrNotExist)
		var e *Error
		if !errors.As(err, &e) || e.Op != "open" || e.Path != "none" || strings.Contains(err.Error(), "rpc") {
			t.Errorf("error %v", err)
		}
		wantErr(t, c.Mkdir(ctx, "x/y", 0o755), fs.ErrNotExist)
		wantErr(t, c.Rename(ctx, "a", "b"), fs.ErrExist)
		wantErr(t, c.Remove(ctx, "dir"), ErrNotEmpty)
		wantErr(t, c.SetReplication(ctx, "a", 0), fs.ErrInvalid)
		for _, err := range []error{
			c.Rename(ctx, "a", "dir/a"), c.Remove(ctx, "dir/a"), c.RemoveAll(ctx, "page"), c.RemoveAll(ctx, "page"),
			c.Chmod(ctx, "b", 0o600), c.Chown(ctx, "b", "bob", "all"), c.SetReplication(ctx, "b", 2),
			c.Chtimes(ctx, "b", time.Unix(1000, 5)), c.SetPolicy(ctx, "dir", Policy{Replication: 2, Retention: time.Hour}),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		info, err := c.Stat(ctx, "b")
		if err != nil || info.Mode() != 0o600 || info.Owner() != "bob" || info.Group() != "all" || info.Replication() != 2 || !info.ModTime().Equal(time.Unix(1000, 5)) || info.Size() != 2 {
			t.Errorf("%v, %v", info, err)
		}
		gone, err := c.ReadDeleted(ctx, "dir")
		if err != nil || len(gone) != 1 || gone[0].Deleted().IsZero() {
			t.Fatal(gone, err)
		}
		if data, err := c.ReadFile(ctx, "dir/"+gone[0].Name()); err != nil || string(data) != "1" {
			t.Errorf("under its hidden name: %q, %v", data, err)
		}
		if back, err := c.Undelete(ctx, "dir/a", "again"); err != nil || back != "again" {
			t.Error(back, err)
		}
		if back, err := c.Undelete(ctx, "page", ""); err != nil || back != "page" {
			t.Error(back, err)
		}
		found, err := c.Glob(ctx, "**/[3-5]")
		if err != nil || !slices.Equal(found, []string{"page/3", "page/4", "page/5"}) {
			t.Error(found, err)
		}
		if found, err = c.Glob(ctx, "dir/**"); err != nil || !slices.Equal(found, []string{"dir/.hidden", "dir/one", "dir/sub", "dir/sub/deeper", "dir/sub/deeper/x", "dir/sub/y", "dir/two"}) {
			t.Error(found, err)
		}
	})
}

func TestClientExactlyOnceThroughLostAnswers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		if err := c.Mkdir(t.Context(), "d", 0o755); err != nil {
			t.Fatal(err)
		}
		// The connection breaks again and again while files are made and renamed: each
		// call is executed once, so none finds its own work in its way.
		done := make(chan int)
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
					k.net.Reset("client", "m")
				}
			}
		}()
		link := transport.Link{Latency: transport.Constant(400 * time.Microsecond)}
		if err := errors.Join(k.net.SetLink("client", "m", link), k.net.SetLink("m", "client", link)); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			f, err := c.Create(t.Context(), "new")
			if err != nil {
				t.Fatal(i, err)
			}
			f.Close()
			if err := c.Rename(t.Context(), "new", "d/"+string(rune('a'+i))); err != nil {
				t.Fatal(i, err)
			}
		}
		close(done)
		if n := k.net.FaultCount(transport.FaultReset); n < 10 {
			t.Errorf("%d resets: nothing was tested", n)
		}
	})
}

func TestClientShadowsServeWhileTheMasterIsAway(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		putFile(t, c, "f", []byte("content"))
		k.startMaster("shadow", new(atomic.Pointer[chan int]))
		c = k.dial(ClientConfig{Shadows: []string{"shadow:1"}})
		never := make(chan int)
		k.hang.Store(&never)
		began := time.Now()
		for range 5 {
			data, err := c.ReadFile(t.Context(), "f")
			if err != nil || string(data) != "content" {
				t.Fatalf("%q, %v", data, err)
			}
		}
		if took := time.Since(began); took > 2*shadowAfter {
			t.Errorf("five files took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantErr(t, c.Remove(ctx, "f"), context.DeadlineExceeded)
	})
}

func TestClientAdmin(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 4, fakeChunkSize)
		c := k.dial(ClientConfig{Host: "c2"})
		ctx := t.Context()
		plant(t, c)
		putFile(t, c, "big", noise(3*fakeChunkSize))
		servers, err := c.Servers(ctx)
		if err != nil || len(servers) != 4 || !servers[0].Alive || servers[2].Addr != "c2:1" {
			t.Errorf("%+v, %v", servers, err)
		}
		for _, err := range []error{c.Drain(ctx, 1), c.Undrain(ctx, 1), c.Forget(ctx, 1)} {
			if err != nil {
				t.Error(err)
			}
		}
		if u, err := c.Usage(ctx, "dir"); err != nil || u.Files != 5 || u.Directories != 3 {
			t.Errorf("%+v, %v", u, err)
		}
		if all, err := c.Fsck(ctx, "."); err != nil || all.Files != int64(len(tree)+1) || all.Missing != all.Files || len(all.Faults) != len(tree)+1 {
			t.Errorf("%+v, %v", all, err)
		}
		if info, err := c.Cluster(ctx); err != nil || info.ChunkSize != fakeChunkSize || info.Epoch != 1 {
			t.Errorf("%+v, %v", info, err)
		}
		hosts, err := c.Locate(ctx, "big", fakeChunkSize, 1)
		_, _, have := k.chunkOf("big", 1)
		if err != nil || len(hosts) != 3 {
			t.Fatal(hosts, err)
		}
		for _, s := range have {
			if !slices.Contains(hosts, hostOf(s.loc.addr)) {
				t.Errorf("%v lacks %s", hosts, s.loc.addr)
			}
			if s.loc.addr == "c2:1" && hosts[0] != "c2" {
				t.Errorf("%v does not begin with the nearest", hosts)
			}
		}
		all, err := c.Locate(ctx, "big", 0, 3*fakeChunkSize)
		if err != nil || len(all) != 4 {
			t.Error(all, err)
		}
	})
}

func TestClientFilesForMapReduce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		k := newFake(t, 3, fakeChunkSize)
		c := k.dial(ClientConfig{})
		files := c.Files()
		ctx := t.Context()
		write := func(name string, data []byte) {
			t.Helper()
			w, err := files.Create(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		want := noise(5*fakeChunkSize + 5)
		write("out/deep/tmp", want)
		_, _, servers := k.chunkOf("out/deep/tmp", 0)
		if servers[0].syncs == 0 {
			t.Error("Close does not sync")
		}
		if err := files.Commit(ctx, "out/deep/tmp", "new/dir/final"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, files.Commit(ctx, "out/deep/tmp", "new/dir/final"), fs.ErrNotExist)
		write("tmp", nil)
		wantErr(t, files.Commit(ctx, "tmp", "new/dir/final"), fs.ErrExist)
		for _, name := range []string{"", ".", "..", "/f", "a/../f", "a/"} {
			if _, err := files.Create(ctx, name); err == nil {
				t.Errorf("Create(%q) does not fail", name)
			}
			if files.Commit(ctx, name, "g") == nil || files.Commit(ctx, "tmp", name) == nil || files.Remove(ctx, name) == nil {
				t.Errorf("with %q Commit or Remove does not fail", name)
			}
		}
		f, size, err := files.Open(ctx, "new/dir/final")
		if err != nil || size != int64(len(want)) {
			t.Fatal(size, err)
		}
		defer f.Close()
		for _, at := range []int64{0, 12345, size - 3, size, size + 1} {
			got, err := io.ReadAll(io.NewSectionReader(f, at, size))
			if err != nil || !bytes.Equal(got, want[min(at, size):]) {
				t.Errorf("from %d: %d bytes, %v", at, len(got), err)
			}
		}
		if n, err := f.ReadAt(make([]byte, 10), size-3); n != 3 || err != io.EOF {
			t.Errorf("at the end: %d, %v", n, err)
		}
		names, err := files.Glob(ctx, "**")
		if err != nil || !slices.Equal(names, []string{"new/dir/final", "tmp"}) {
			t.Error(names, err)
		}
		if hosts, err := files.Locate(ctx, "tmp", 0, 0); err != nil || len(hosts) != 0 {
			t.Error(hosts, err)
		}
		if err := files.Remove(ctx, "tmp"); err != nil {
			t.Error(err)
		}
	})
}

func TestClientConfigIsChecked(t *testing.T) {
	k := newFake(t, 0, fakeChunkSize)
	ok := ClientConfig{Transport: k.net.Host("client"), Masters: []string{"m:1"}}
	for field, spoil := range map[string]func(*ClientConfig){
		"Transport":   func(c *ClientConfig) { c.Transport = nil },
		"Masters":     func(c *ClientConfig) { c.Masters = nil },
		"CacheTime":   func(c *ClientConfig) { c.CacheTime = -1 },
		"Patience":    func(c *ClientConfig) { c.Patience = -1 },
		"Jitter":      func(c *ClientConfig) { c.Jitter = -1 },
		"ReadAhead":   func(c *ClientConfig) { c.ReadAhead = maxAhead + 1 },
		"WriteBehind": func(c *ClientConfig) { c.WriteBehind = maxAhead + 1 },
		"Limits":      func(c *ClientConfig) { c.Limits.MaxCalls = -1 },
	} {
		cfg := ok
		spoil(&cfg)
		_, err := Dial(t.Context(), cfg)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
}
