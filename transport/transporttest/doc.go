// Package transporttest helps to test with package transport.
//
// [Test] is the conformance suite: it holds any Transport, and its packet side if
// it has one, against the contract of transport.Transport. [Cases] are its cases
// one by one, for who wants each in a synctest bubble.
//
// [NewNetwork] makes an in-memory network that ends with the test, and [CA] a
// certificate authority for tests of mutual TLS, in bubbles too.
package transporttest
