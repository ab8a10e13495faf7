package sim

// Log is a file of records on a node's disk. Records are appended in memory and
// safe once synced. In a crash some of the records that were not synced are
// lost: those from a random one on, perhaps none, perhaps all.
//
// A log outlives the processes of its node: boot opens it and reads what is there.
type Log[R any] struct {
	world   logWorld
	node    logNode
	index   int32
	records []R
	first   int64 // position of records[0]
	safe    int64 // positions below it survive
}

type storage interface {
	crash() (lost int)
	synced(pos int64)
}

// logWorld and logNode hide the message type of the world.
type logWorld interface{ drawN(limit uint64) uint64 }

type logNode interface {
	sync(log int32, pos int64, key uint64)
}

// OpenLog opens the log with a name on the node's disk, making it if there is
// none: what boot does.
func OpenLog[R, M any](n *Node[M], name string) *Log[R] {
	for i, known := range n.names {
		if known == name {
			return n.logs[i].(*Log[R])
		}
	}
	l := &Log[R]{world: n.w, node: n, index: int32(len(n.logs))}
	n.logs = append(n.logs, l)
	n.names = append(n.names, name)
	return l
}

// Append adds a record and returns its position: positions count from 0. What
// the record refers to must not be changed.
func (l *Log[R]) Append(r R) int64 {
	l.records = append(l.records, r)
	return l.first + int64(len(l.records)) - 1
}

// Sync makes what was appended so far safe, and then calls Process.Timer(key).
// It takes a while; several syncs may be on their way.
func (l *Log[R]) Sync(key uint64) { l.node.sync(l.index, l.End(), key) }

// Safe returns the position below which all is safe.
func (l *Log[R]) Safe() int64 { return l.safe }

// End returns the position of the next record.
func (l *Log[R]) End() int64 { return l.first + int64(len(l.records)) }

// Records returns the records from position First on. The slice is the log's own.
func (l *Log[R]) Records() []R { return l.records }

// First returns the position of the first record.
func (l *Log[R]) First() int64 { return l.first }

// Reset replaces everything, at once and safely: a checkpoint written beside
// the log and renamed, or a disk that was wiped. The next position stays.
func (l *Log[R]) Reset(records ...R) {
	end := l.End()
	l.records = append([]R(nil), records...)
	l.first = end
	l.safe = l.End()
}

func (l *Log[R]) synced(pos int64) { l.safe = max(l.safe, min(pos, l.End())) }

func (l *Log[R]) crash() int {
	unsafe := l.End() - l.safe
	if unsafe <= 0 {
		return 0
	}
	lost := int64(l.world.drawN(uint64(unsafe) + 1))
	l.records = l.records[: int64(len(l.records))-lost : int64(len(l.records))-lost]
	l.safe = l.End() // what survived a crash is on the disk
	return int(lost)
}
