package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// arguments are a call's, in XDR (RFC 4506).
type arguments []byte

func (a arguments) number(n uint32) arguments { return binary.BigEndian.AppendUint32(a, n) }

func (a arguments) text(s string) arguments {
	a = append(a.number(uint32(len(s))), s...)
	return append(a, make([]byte, -len(s)&3)...)
}

// textOrNull writes a string that may be missing, as which "" is.
func (a arguments) textOrNull(s string) arguments {
	if s == "" {
		return a.number(0)
	}
	return a.number(1).text(s)
}

func (a arguments) domain(d Domain) arguments {
	return append(a.text(d.Name), d.UUID[:]...).number(uint32(d.ID))
}

// results read what the daemon sent, in XDR. Once something is wrong, err says what, and
// all that is read after it is zero. Nothing is allocated but what has arrived.
type results struct {
	rest []byte
	err  error
}

// take gives the next n bytes, nil when there are fewer.
func (r *results) take(n int) []byte {
	if r.err == nil && n > len(r.rest) {
		r.err = errors.New("it ends too early")
	}
	if r.err != nil {
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *results) number() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *results) hyper() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads how many elements or bytes follow.
func (r *results) length(most uint32) int {
	n := r.number()
	if r.err == nil && n > most {
		r.err = fmt.Errorf("it holds %d of what there are at most %d", n, most)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *results) text() string {
	n := r.length(stringMax)
	if b := r.take((n + 3) &^ 3); b != nil {
		return string(b[:n])
	}
	return ""
}

// textOrNull reads a string that may be missing: "" then.
func (r *results) textOrNull() string {
	if r.number() == 0 {
		return ""
	}
	return r.text()
}

func (r *results) domain() (d Domain) {
	d.Name = r.text()
	copy(d.UUID[:], r.take(len(d.UUID)))
	d.ID = int32(r.number())
	return d
}
