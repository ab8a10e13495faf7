package rpc

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/trilith-go/trilith/internal/wire"
)

// The handshake:
//
//	client → server   magic, lowest and highest version, nonce, cluster, node, limits
//	server → client   magic, status; nonce; whether a proof is wanted; cluster, node, limits
//	client → server   proof: HMAC-SHA256(secret, "client", both hellos)     } only if
//	server → client   proof: HMAC-SHA256(secret, "server", both hellos)     } wanted
//
// Each message but the first 8 bytes is a length of two bytes and so many bytes.
// Nothing longer than maxHello is read before the peer has proven itself, and a
// stranger learns nothing that the secret went into.

const (
	magic      = "trilith\x00"
	maxHello   = 1 << 10
	maxName    = 255 // bytes of a cluster's or a node's id
	minVersion = 1   // the oldest protocol version known here
	maxVersion = 1   // and the newest
)

// Why a server refuses a hello.
const (
	helloOK = iota
	helloVersion
	helloCluster
	helloSecret
	helloShutdown
	helloNode
)

var helloErrors = map[byte]error{
	helloVersion:  ErrVersion,
	helloCluster:  ErrCluster,
	helloSecret:   ErrSecret,
	helloShutdown: ErrShutdown,
	helloNode:     ErrNode,
}

// Peer is who is at the other end of a connection.
type Peer struct {
	// Addr is the address of the connection's other end.
	Addr net.Addr
	// Node is the id that the peer gave itself. With TLS in which the peer
	// showed a certificate, it is a name in that certificate; without, it is
	// what the peer says.
	Node string
	// TLS describes the connection's encryption, or is nil.
	TLS *tls.ConnectionState
}

// A handshake is what one side brings to every handshake.
type handshake struct {
	cluster, node string
	secret        []byte
	lim           Limits
}

// hello is what both sides say.
type hello struct {
	minVersion, maxVersion byte // the server's answer: the version, twice
	nonce                  [16]byte
	prove                  bool // the server's answer: a proof is wanted
	cluster, node          string
	params                 params
}

func (h *hello) append(dst []byte) []byte {
	dst = append(dst, h.minVersion, h.maxVersion)
	dst = append(dst, h.nonce[:]...)
	dst = wire.AppendBool(dst, h.prove)
	dst = wire.AppendString(dst, h.cluster)
	dst = wire.AppendString(dst, h.node)
	for _, v := range []int{h.params.maxMessage, h.params.maxBody, h.params.maxCalls, h.params.maxStreams, h.params.window} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	return dst
}

// parse reads a hello. Later versions may append to it.
func (h *hello) parse(b []byte) error {
	d := wire.NewDecoder(b)
	h.minVersion, h.maxVersion = d.Byte(), d.Byte()
	copy(h.nonce[:], d.Next(len(h.nonce)))
	h.prove = d.Bool()
	h.cluster, h.node = d.String(), d.String()
	for _, v := range []*int{&h.params.maxMessage, &h.params.maxBody, &h.params.maxCalls, &h.params.maxStreams, &h.params.window} {
		*v = d.Int(math.MaxInt32)
	}
	if d.Err() == nil && (len(h.cluster) > maxName || len(h.node) > maxName || h.minVersion == 0 || h.maxVersion < h.minVersion) {
		d.Fail("a field is out of range")
	}
	return d.Err()
}

func (hs *handshake) hello() *hello {
	h := &hello{minVersion: minVersion, maxVersion: maxVersion, cluster: hs.cluster, node: hs.node}
	rand.Read(h.nonce[:]) // never fails
	l := hs.lim
	h.params = params{l.MaxMessageBytes, l.MaxBodyBytes, l.MaxCalls, l.MaxStreams, int(l.firstWindow())}
	return h
}

func (hs *handshake) proof(role string, hellos ...[]byte) []byte {
	mac := hmac.New(sha256.New, hs.secret)
	mac.Write([]byte("trilith rpc 1 " + role))
	for _, h := range hellos {
		mac.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(h))))
		mac.Write(h)
	}
	return mac.Sum(nil)
}

// guard makes nc fail when ctx ends or the handshake takes too long. Its result
// undoes that and reports why it struck, if it did.
func (hs *handshake) guard(ctx context.Context, nc net.Conn) (release func(error) error) {
	nc.SetDeadline(time.Now().Add(hs.lim.HandshakeTimeout))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	return func(err error) error {
		if !stop() && err == nil {
			err = ctxError(ctx)
		}
		if err == nil {
			err = nc.SetDeadline(time.Time{})
		} else if cause := ctxError(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
}

// client performs the client's part on a new connection.
func (hs *handshake) client(ctx context.Context, nc net.Conn) (p params, peer Peer, err error) {
	release := hs.guard(ctx, nc)
	defer func() { err = release(err) }()
	peer.Addr = nc.RemoteAddr()
	if err := shakeTLS(ctx, nc, &peer); err != nil {
		return p, peer, err
	}
	mine := hs.hello()
	myHello := mine.append(nil)
	if _, err := nc.Write(appendBlock([]byte(magic), myHello)); err != nil {
		return p, peer, err
	}
	if err := expectMagic(nc); err != nil {
		return p, peer, err
	}
	answer, err := readBlock(nc)
	if err != nil {
		return p, peer, err
	}
	if len(answer) == 0 || answer[0] != helloOK {
		return p, peer, refused(answer)
	}
	var theirs hello
	if err := theirs.parse(answer[1:]); err != nil {
		return p, peer, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	peer.Node = theirs.node
	switch {
	case theirs.maxVersion > maxVersion || theirs.maxVersion < minVersion:
		return p, peer, ErrVersion
	case theirs.cluster != hs.cluster:
		return p, peer, fmt.Errorf("%w: it is of %q, this is of %q", ErrCluster, theirs.cluster, hs.cluster)
	case !nodeMatches(&peer):
		return p, peer, ErrNode
	case theirs.prove != (len(hs.secret) > 0):
		return p, peer, fmt.Errorf("%w: only one side has one", ErrSecret)
	}
	if theirs.prove {
		if _, err := nc.Write(appendBlock(nil, hs.proof("client", myHello, answer))); err != nil {
			return p, peer, err
		}
		proof, err := readBlock(nc)
		if err != nil {
			return p, peer, err
		}
		if !hmac.Equal(proof, hs.proof("server", myHello, answer)) {
			return p, peer, ErrSecret
		}
	}
	return theirs.params, peer, nil
}

// server performs the server's part. admit, asked when the client has proven
// itself to be one, may refuse it with a status.
func (hs *handshake) server(ctx context.Context, nc net.Conn, admit func() byte) (p params, peer Peer, err error) {
	release := hs.guard(ctx, nc)
	defer func() { err = release(err) }()
	peer.Addr = nc.RemoteAddr()
	if err := shakeTLS(ctx, nc, &peer); err != nil {
		return p, peer, err
	}
	if err := expectMagic(nc); err != nil {
		return p, peer, err
	}
	theirHello, err := readBlock(nc)
	if err != nil {
		return p, peer, err
	}
	var theirs hello
	if err := theirs.parse(theirHello); err != nil {
		return p, peer, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	peer.Node = theirs.node
	status := byte(helloOK)
	switch {
	case theirs.minVersion > maxVersion || theirs.maxVersion < minVersion:
		status = helloVersion
	case theirs.cluster != hs.cluster:
		status = helloCluster
	case !nodeMatches(&peer):
		status = helloNode
	default:
		status = admit()
	}
	if status != helloOK {
		nc.Write(appendBlock([]byte(magic), []byte{status}))
		return p, peer, helloErrors[status]
	}
	mine := hs.hello()
	mine.minVersion = min(maxVersion, theirs.maxVersion)
	mine.maxVersion = mine.minVersion
	mine.prove = len(hs.secret) > 0
	answer := mine.append([]byte{helloOK})
	if _, err := nc.Write(appendBlock([]byte(magic), answer)); err != nil {
		return p, peer, err
	}
	if mine.prove {
		proof, err := readBlock(nc)
		if err != nil {
			return p, peer, fmt.Errorf("%w: %w", ErrSecret, err)
		}
		if !hmac.Equal(proof, hs.proof("client", theirHello, answer)) {
			nc.Write(appendBlock(nil, []byte{helloSecret}))
			return p, peer, ErrSecret
		}
		if _, err := nc.Write(appendBlock(nil, hs.proof("server", theirHello, answer))); err != nil {
			return p, peer, err
		}
	}
	return theirs.params, peer, nil
}

// refused returns the error of a server's refusal.
func refused(answer []byte) error {
	if len(answer) > 0 {
		if err := helloErrors[answer[0]]; err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: refused for a reason not known here", ErrHandshake)
}

// shakeTLS completes the TLS handshake, if there is one to be made.
func shakeTLS(ctx context.Context, nc net.Conn, peer *Peer) error {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	state := tc.ConnectionState()
	peer.TLS = &state
	return nil
}

// nodeMatches reports whether the peer's certificate, if it showed one, bears
// the name that the peer gave itself.
func nodeMatches(p *Peer) bool {
	if p.Node == "" || p.TLS == nil || len(p.TLS.PeerCertificates) == 0 {
		return true
	}
	cert := p.TLS.PeerCertificates[0]
	return cert.Subject.CommonName == p.Node || cert.VerifyHostname(p.Node) == nil
}

func appendBlock(dst, b []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

func readBlock(r io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, cutShort(err)
	}
	size := binary.LittleEndian.Uint16(n[:])
	if size > maxHello {
		return nil, fmt.Errorf("%w: a hello of %d bytes", ErrHandshake, size)
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, cutShort(err)
}

func expectMagic(r io.Reader) error {
	var b [len(magic)]byte
	if n, err := io.ReadFull(r, b[:]); err != nil && bytes.HasPrefix([]byte(magic), b[:n]) {
		return cutShort(err)
	}
	if string(b[:]) != magic {
		return fmt.Errorf("%w: it began with %q", ErrHandshake, b[:])
	}
	return nil
}

// cutShort makes the end of a connection in the middle of the handshake an
// error that says so.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: closed by the peer during the handshake", ErrConnLost)
	}
	return err
}
