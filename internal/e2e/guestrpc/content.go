package guestrpc

import (
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"net"
)

// Content is so many bytes that look like nothing else: whoever knows the seed knows all of them.
func Content(size int64, seed byte) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

// Send sends so much content, and that it was all.
func Send(conn *net.TCPConn, size int64, seed byte) error {
	if n, err := io.Copy(conn, Content(size, seed)); err != nil {
		return fmt.Errorf("after %d bytes sent: %w", n, err)
	}
	return conn.CloseWrite()
}

// A Sum is what both ends of a transfer compare.
type Sum struct {
	Bytes int64
	CRC   uint64
}

// SumOf reads to the end.
func SumOf(r io.Reader) (Sum, error) {
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	n, err := io.Copy(h, r)
	if err != nil {
		err = fmt.Errorf("after %d bytes received: %w", n, err)
	}
	return Sum{Bytes: n, CRC: h.Sum64()}, err
}
