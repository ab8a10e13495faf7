package gfs

import "testing"

// A torn replica may be the best there is: as long as it may not be mended, it is not
// condemned. One that rotted is.
func TestCompareLeavesATornReplicaOpen(t *testing.T) {
	replicas := []digested{
		{holder: holder{location: location{id: 1}}, digest: digestResp{length: 10, bad: []uint64{0}, health: suspect}},
		{holder: holder{location: location{id: 2}}, digest: digestResp{length: 10, bad: []uint64{0}, health: corrupt}},
	}
	todo := compareReplicas(replicas, false)
	verdicts := todo.verdicts(replicas, func(int) bool { return true })
	if len(verdicts) != 1 || verdicts[0].server != 2 || verdicts[0].health != corrupt {
		t.Errorf("without mending: %+v", verdicts)
	}
	todo = compareReplicas(replicas[:1], true)
	if v := todo.verdicts(replicas[:1], func(int) bool { return true }); len(v) != 1 || v[0].health != sound {
		t.Errorf("with mending: %+v", v)
	}
}
