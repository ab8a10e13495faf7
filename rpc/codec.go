package rpc

import (
	"encoding"
	"encoding/json"
	"fmt"
)

// Empty is the message without fields. It encodes to nothing.
type Empty struct{}

// AppendBinary appends nothing.
func (Empty) AppendBinary(dst []byte) ([]byte, error) { return dst, nil }

// UnmarshalBinary refuses anything but nothing.
func (*Empty) UnmarshalBinary(b []byte) error {
	if len(b) != 0 {
		return fmt.Errorf("%d bytes where none were expected", len(b))
	}
	return nil
}

// A Body is embedded in a message that carries raw bytes beside its fields:
// they cross the connection without being encoded, in frames that other calls
// slip between, and are copied no more than the transport needs.
//
//	type ReadResp struct {
//		Version uint64
//		rpc.Body
//	}
//
// A message with a Body encodes only its other fields in AppendBinary, or as JSON.
type Body struct {
	// Data is the bytes. A client lends the Data of a request until its call
	// returns, a handler that of its response until Release is called.
	//
	// A client receives into Data[:0] of the response message that it passes to
	// CallInto if the capacity suffices, and into new memory otherwise: of the body's
	// size up to 1 MiB; for a longer one it grows as bytes arrive, and moves them. A
	// handler may use the Data that it received until it returns, and longer if
	// it calls Keep. It may lend it on as the Data of its response without that.
	Data []byte `json:"-"`

	// Release, if a handler sets it on its response, is called exactly once,
	// when Data is no longer needed, whether or not it reached the client.
	Release func() `json:"-"`

	kept bool
}

// Keep makes the Data that a handler received its own, and returns it.
func (b *Body) Keep() []byte {
	b.kept = true
	return b.Data
}

func (b *Body) rpcBody() *Body { return b }

// bodied is implemented by the messages that embed Body, and by no other.
type bodied interface{ rpcBody() *Body }

// bodyOf returns the Body of message m, or nil.
func bodyOf(m any) *Body {
	if b, ok := m.(bodied); ok {
		return b.rpcBody()
	}
	return nil
}

// appendMessage appends the fields of m, a pointer to a message.
func appendMessage(dst []byte, m any) ([]byte, error) {
	switch m := m.(type) {
	case encoding.BinaryAppender:
		return m.AppendBinary(dst)
	default:
		b, err := json.Marshal(m)
		return append(dst, b...), err
	}
}

// decodeMessage fills m, a pointer to a message, from its fields. src is
// borrowed.
func decodeMessage(src []byte, m any) error {
	switch m := m.(type) {
	case encoding.BinaryUnmarshaler:
		return m.UnmarshalBinary(src)
	default:
		return json.Unmarshal(src, m)
	}
}

// checkMessage reports whether messages of m's type can be both sent and
// received, so that half a codec is found when a method is registered.
func checkMessage(m any) error {
	_, appends := m.(encoding.BinaryAppender)
	_, decodes := m.(encoding.BinaryUnmarshaler)
	if appends != decodes {
		return fmt.Errorf("%T implements only one of encoding.BinaryAppender and encoding.BinaryUnmarshaler", m)
	}
	return nil
}

// tooLarge says which limit n bytes of what exceed.
func tooLarge(what string, n, limit int) error {
	return fmt.Errorf("%w: %s of %d bytes, the limit is %d", ErrTooLarge, what, n, limit)
}

func malformed(m any, err error) error {
	return fmt.Errorf("%w: %T: %w", ErrMessage, m, err)
}
