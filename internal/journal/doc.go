// Package journal is a log of records on disk that survives crashes, with
// checkpoints that keep it short. It is what every durable part of this module
// stands on.
//
// The owner of a journal appends records and syncs them; a record whose Sync has
// returned is there after any crash. From time to time it hands over an image of
// what its records add up to, which then takes the place of the older ones. A start
// gets the newest image and the records after it.
//
//	j, err := journal.Open(journal.Config{Dir: dir}, state) // restores, replays
//	seq, err := j.Append(record)                            // into memory
//	safe, err := j.Sync()                                   // one write, one fsync
//	err = j.Checkpoint(safe, image)                         // beside the running owner
//
// Append never waits for the disk: while a Sync writes one batch, the next fills a
// second buffer. Concurrent Syncs share one fsync. No call allocates in a steady
// state.
//
// # Files
//
//	LOCK                              locked while the journal is open
//	log-<sequence>                    a segment: records from that sequence number on
//	checkpoint-<sequence>             an image of the state after that record
//	log-….tmp, checkpoint-….tmp       unfinished; removed at the next start
//
// Sequence numbers are in hexadecimal, 16 digits. A segment and a checkpoint are
// written and synced under their temporary names first: under its final name a
// file is whole from birth. Every change of the directory is synced before
// anything builds on it.
//
// All integers are little-endian; all checksums are CRC32C. A segment begins with
// a header of 64 bytes:
//
//	0  magic "trilog\r\n"   8  version, 4 bytes   12  zero, 4 bytes
//	16 id of the journal, 16 bytes   32  sequence number of the first record, 8 bytes
//	40 zero   60 checksum of the bytes before
//
// A record is a header of 24 bytes and a payload:
//
//	0  checksum of bytes 8 to 24 and the payload   4  checksum of bytes 8 to 24
//	8  length of the payload, 4 bytes   12  kind, 1 byte   13  zero, 3 bytes
//	16 sequence number, 8 bytes
//
// Both checksums start from the checksum of the journal's random id, so that no
// bytes of another journal count as records of this one, not even inside a
// payload. There are two kinds. Data (1) is what was appended; its sequence
// numbers are consecutive. A mark (2) has no payload; it bears the sequence number
// of the record before it and says that, when the mark was written, that record
// and all before it had been synced. Each Sync begins its batch with a mark for
// the batch before; a Sync that finds nothing to do, and Close, write one too.
//
// Each batch is followed by a byte 0xa5, which the next one goes over, so that the
// last record is known to be whole even if it ends with zeros. Behind that the last
// segment may go on with zeros, up to the end of the file. They are written ahead, with a batch that makes the file longer anyway and
// for the same sync, as many as the segment is long, but at least 64 KiB and at most
// 1 MiB, and never beyond Config.SegmentBytes. The batches that then go in their
// place change nothing but bytes of the file, and a sync that need not wait for the
// file system's own journal takes half the time. There are none where batches are
// large, since these would be written twice, nor when the disk has no room for them.
// A segment that is followed by another, or was closed, ends with its records.
//
// A checkpoint begins with a header as that of a segment (magic "trichk\r\n", the
// sequence number that it stands for, and at 12 a 1 if the journal began with it),
// goes on with the image, and ends with the length of the image, 8 bytes, and the
// checksum of everything before, 4 bytes.
//
// # What a start accepts
//
// A crash can only harm what had not been synced: the end of the last segment.
// There it leaves every sector either as written or as before, that is zero or
// beyond the end of the file, in any selection; a write that fails or whose process
// ends may be cut anywhere. Anything else is damage, and a start that finds damage
// refuses to go on ([ErrCorrupt], with the file and the offset), since records that
// were acknowledged may be gone. In detail, a place in the last segment where the next record should begin and none can be read is a torn tail,
// and cut, if
//
//  1. no mark behind it, wherever one begins, says that the record had been synced;
//     and
//  2. the file ends within the record, or goes on behind it with nothing but zeros,
//     not even the stop byte; or one of the record's sectors was never written: is
//     zero to its end, or to the end of the file. Of the sector in which the record
//     begins only what is behind its beginning counts, and not the stop byte of the
//     batch before; of a record whose header can't be read, only the header.
//
// If there is nothing but a stop byte and zeros from that place on, it is the end of
// the log, and nobody is told. Of a torn batch the records before the first hole are kept, as
// they may be, and all behind is cut off, whole records too, and the cut is synced
// before anything takes their place: none of them can come back.
//
// All else is damage: a bad record that a later mark covers, a bad record all of
// whose sectors were written, a record out of sequence, anything wrong in a
// segment that is not the last, a missing segment, a bad header, files of another
// journal. So a flipped bit is never taken for a torn tail, with one exception: in
// the last batch before a power failure that also kept its mark from the disk, in a
// record of which a sector, as far as the record reaches, is nothing but zeros, or
// of which only the first byte is in its sector and the same as the stop byte. A bit
// flipped in the zeros not far behind the last record may be refused too, since it
// can't be told from a damaged record; farther on it harms nothing.
//
// What can't be told from a torn tail: that the end of the last batch, and the mark
// for it if there is one, has been turned into zeros.
//
// A checkpoint that is not whole is passed over, with a warning, in favour of the
// one before it, or of the very beginning: the records needed for that are kept.
// The two newest are kept, the beginning counting as one. A new checkpoint is read
// back before anything older is removed.
//
// # Failure
//
// A write or sync of the log, or a sync of its directory, that fails for whatever
// reason, a full disk included, is final: every later call returns the same error,
// which matches [ErrFailed]. (That a full disk has no room for zeros ahead is not a
// failure.) It is never retried, since a second fsync may succeed
// after the system has dropped what the first could not write. What had been synced
// stays safe; what had not been may or may not be found by the next start, which
// writes and syncs it once more before it counts: what the system shows after a
// failed sync need not be on the disk. A checkpoint whose image fails leaves the
// log as it was and may be tried again.
//
// Not guaranteed: that the loss of whole files at the end, newest segment and all,
// is noticed; and anything on storage that acknowledges a sync it has not done.
//
// # Reading the source
//
// The pure core is format.go (what the bytes are) and scan.go (reading a segment,
// and telling a torn tail from damage). journal.go appends and syncs, tail.go writes
// the last segment, segment.go makes files, recovery.go opens, checkpoint.go writes
// and verifies images, reader.go follows the log while it grows.
package journal
