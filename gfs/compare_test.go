package gfs

import "testing"

// A torn replica may be the best there is: as long as it may not be mended, it is not
// condemned. One that rotted is.
func TestCompareLeavesATornReplicaOpen(t *testing.T) {
	replicas := []digested{
		{holder: holder{location: location{id: 1}}, digest: digestResp{length: 10, bad: []uint64{0}, health: suspect}},
		{holder: holder{location: location{id: 2}}, digest: digestResp{length: 10, bad: []uint64{0}, health: corrupt}},
	}
	todo := compareReplicas(replicas, mending{enough: 3})
	verdicts := todo.verdicts(replicas, func(int) bool { return true })
	if len(verdicts) != 1 || verdicts[0].server != 2 || verdicts[0].health != corrupt {
		t.Errorf("without mending: %+v", verdicts)
	}
	todo = compareReplicas(replicas[:1], mending{waited: true})
	if v := todo.verdicts(replicas[:1], func(int) bool { return true }); len(v) != 1 || v[0].health != sound {
		t.Errorf("with mending: %+v", v)
	}
}

// Who has not answered may have a replica that was not interrupted, whatever the master
// thinks of how many there are.
func TestCompareWaitsForWhoDoesNotAnswer(t *testing.T) {
	replicas := []digested{
		{holder: holder{location: location{id: 1}}, err: ErrUnavailable},
		{holder: holder{location: location{id: 2}}, digest: digestResp{length: 10, health: suspect}},
		{holder: holder{location: location{id: 3}}, digest: digestResp{length: 20, health: suspect}},
	}
	for _, k := range []struct {
		mend mending
		want int
	}{
		{mending{enough: 3}, -1}, {mending{enough: 3, present: true}, -1},
		{mending{enough: 2}, 2}, {mending{enough: 3, waited: true}, 2},
	} {
		if todo := compareReplicas(replicas, k.mend); todo.mend != k.want || todo.open != (k.want < 0) {
			t.Errorf("%+v: %+v", k.mend, todo)
		}
	}
	if todo := compareReplicas(replicas[1:], mending{enough: 3, present: true}); todo.mend != 1 {
		t.Errorf("all are here, and %+v", todo)
	}
}

// A replica that only could not be made durable, or that others make whole, has all that
// was acknowledged; one that was interrupted may not have.
func TestCompareMendsWhatWasNotInterrupted(t *testing.T) {
	replicas := []digested{
		{holder: holder{location: location{id: 1}}, digest: digestResp{length: 3 * blockSize, health: suspect, kept: true}},
		{holder: holder{location: location{id: 2}}, digest: digestResp{length: 2*blockSize + 1, bad: []uint64{1}, health: corrupt, kept: true}},
		{holder: holder{location: location{id: 3}}, digest: digestResp{length: 2*blockSize + 1, health: corrupt, kept: true}},
	}
	if todo := compareReplicas(replicas, mending{enough: 4}); todo.mend != 2 {
		t.Errorf("%+v", todo)
	}
	if todo := compareReplicas(replicas[:2], mending{enough: 4}); todo.mend >= 0 {
		t.Errorf("at once: %+v", todo)
	}
	if todo := compareReplicas(replicas[:2], mending{waited: true}); todo.mend != 1 {
		t.Errorf("later: %+v", todo)
	}
	if todo := compareReplicas(replicas[1:2], mending{waited: true}); todo.mend >= 0 || !todo.open {
		t.Errorf("what nobody has whole is mended: %+v", todo)
	}
}

func interrupted(id serverID, kept bool, length int64, bad ...uint64) digested {
	return digested{
		holder: holder{location: location{id: id}},
		digest: digestResp{length: length, sum: uint64(id), bad: bad, health: suspect, kept: kept, verifier: 7},
	}
}

// A replica whose machine has run on has all that was acknowledged, and one that has lost
// its power may not: it is the one that counts, torn or short as it may be.
func TestCompareTrustsMemoryBeforePower(t *testing.T) {
	fresh := func() writeVerifier { return 8 }
	killed, failed, other := interrupted(3, true, 200_000, 0, 1), interrupted(1, false, 300_000), interrupted(2, false, 300_000)
	replicas := []digested{failed, killed, other}
	todo := compareReplicas(replicas, mending{waited: true})
	if todo.mend != 1 || len(todo.from) != 0 || todo.verifier(replicas, fresh) != 7 {
		t.Errorf("one was killed, two have lost power: %+v", todo)
	}
	replicas = append(replicas, interrupted(4, true, 200_000, 2))
	todo = compareReplicas(replicas, mending{waited: true})
	if todo.mend != 3 || len(todo.from) != 1 || todo.from[0] != 1 || todo.verifier(replicas, fresh) != 7 {
		t.Errorf("two were killed: %+v", todo)
	}
	replicas = []digested{failed, other}
	todo = compareReplicas(replicas, mending{waited: true})
	if todo.mend != 0 || todo.verifier(replicas, fresh) != 8 {
		t.Errorf("all have lost power: %+v", todo)
	}
}

// One that has lost nothing, and not a block of which is torn, need not wait for servers
// that are away; any other has to.
func TestCompareNeedNotWait(t *testing.T) {
	killed, torn, failed := interrupted(1, true, 200_000), interrupted(2, true, 300_000, 3), interrupted(3, false, 300_000)
	if todo := compareReplicas([]digested{torn, killed, failed}, mending{enough: 4}); todo.mend != 1 || todo.lossy {
		t.Errorf("one is whole: %+v", todo)
	}
	if todo := compareReplicas([]digested{torn, failed}, mending{enough: 3}); todo.mend >= 0 || !todo.open {
		t.Errorf("one is torn: %+v", todo)
	}
	if todo := compareReplicas([]digested{failed}, mending{enough: 2}); todo.mend >= 0 || !todo.open {
		t.Errorf("one has lost power: %+v", todo)
	}
}

// A replica that has rotted, and was not interrupted, has what the others have lost, if the
// rotten blocks are whole in one of them. Otherwise there must be another.
func TestCompareMendsWhatRotted(t *testing.T) {
	rotten := interrupted(1, true, 300_000, 4)
	rotten.digest.health = corrupt
	for _, test := range []struct {
		name  string
		other digested
		mend  int
	}{
		{"whole elsewhere", interrupted(2, false, 300_000, 0), 0},
		{"bad elsewhere", interrupted(2, false, 300_000, 4), 1},
		{"beyond the other's end", interrupted(2, false, 200_000), 1},
	} {
		replicas := []digested{rotten, test.other}
		todo := compareReplicas(replicas, mending{waited: true})
		if todo.mend != test.mend || !todo.lossy {
			t.Errorf("%s: %+v", test.name, todo)
		}
	}
}
