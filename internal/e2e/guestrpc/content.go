package guestrpc

import (
	"hash/crc64"
	"io"
	"math/rand/v2"
)

// Content is so many bytes that look like nothing else: whoever knows the seed knows all of them.
func Content(size int64, seed byte) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
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
	return Sum{Bytes: n, CRC: h.Sum64()}, err
}
