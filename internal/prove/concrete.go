package prove

import (
	"encoding/binary"
	"fmt"

	"macvtap-filter/internal/ruleset"
)

// An Assignment gives the variables of a frame the values of some frames, one in each lane.
type Assignment map[Bit]uint64

func (a Assignment) set(w Word, lane int, n uint64) {
	for i, b := range w {
		a[b] = a[b]&^(1<<lane) | (n>>(len(w)-1-i)&1)<<lane
	}
}

// Take has a lane be a frame.
func (f *Frame) Take(a Assignment, lane int, frame []byte) {
	for i, w := range f.Ether {
		a.set(w, lane, uint64(frame[i]))
	}
	rest := frame[etherHeader:]
	kind := binary.BigEndian.Uint16(frame[12:])
	if f.Hook == ruleset.Ingress && (kind == ruleset.EtherTypeVLAN || kind == ruleset.EtherTypeQinQ) && len(rest) >= vlanHeader {
		for i, w := range f.tag {
			a.set(w, lane, uint64(rest[i]))
		}
		rest = rest[vlanHeader:]
	}
	a.set(f.Length, lane, uint64(len(rest)))
	for i, w := range f.network {
		if i < len(rest) {
			a.set(w, lane, uint64(rest[i]))
		}
	}
	f.takeTail(a, lane, rest)
}

// takeTail says what comes of extension headers that begin where no rule reads.
func (f *Frame) takeTail(a Assignment, lane int, h []byte) {
	t := f.tail
	next, at := byte(0), ipv6Header
	if len(h) > ipv6Header {
		next = h[6]
	}
	begins := 0 // where the first header beyond stands
	bit := func(b Bit, is bool) {
		n := uint64(0)
		if is {
			n = 1
		}
		a.set(Word{b}, lane, n)
	}
	for {
		if at >= readable && begins == 0 {
			begins = at
		}
		least := 4
		switch next {
		case hopByHop, destinations:
			least = 2
		case routingHeader, fragmentHeader:
		default:
			a.set(t.l4, lane, uint64(next))
			a.set(t.rest, lane, uint64(max(0, len(h)-at)))
			a.set(t.units, lane, uint64(max(0, at-begins-8)/8))
			for i, w := range t.transport {
				if at+i < len(h) {
					a.set(w, lane, uint64(h[at+i]))
				}
			}
			return
		}
		if len(h) < at+least {
			bit(t.broken, true)
			return
		}
		if next == fragmentHeader {
			inner := h[at]
			if binary.BigEndian.Uint16(h[at+2:])&^7 != 0 {
				bit(t.later, true)
				a.set(t.l4, lane, uint64(inner))
				return
			}
			next, at = inner, at+8
			continue
		}
		next, at = h[at], at+8*(int(h[at+1])+1)
	}
}

// Values gives the values of all nodes for some frames, with the sets as they are declared.
func (f *Frame) Values(s *Sets, frames ...[]byte) Values {
	a := Assignment{}
	for lane, frame := range frames {
		f.Take(a, lane, frame)
	}
	return f.Evaluate(func(v Bit, before Values) uint64 {
		if n, ok := s.first(v, before); ok {
			return n
		}
		return a[v]
	})
}

// Bytes gives a frame that has the values in a lane.
func (f *Frame) Bytes(v Values, lane int) []byte {
	number := func(w Word) int {
		n := 0
		for _, b := range w {
			n <<= 1
			if v.Is(b, lane) {
				n |= 1
			}
		}
		return n
	}
	var out []byte
	for _, w := range f.Ether {
		out = append(out, byte(number(w)))
	}
	if v.Is(f.Tagged, lane) {
		out = append(out, v.Bytes(join(f.tag...), lane)...)
	}
	rest := make([]byte, number(f.Length))
	for i, w := range f.network {
		if i < len(rest) {
			rest[i] = byte(number(w))
		}
	}
	t := f.tail
	if v.Is(t.reached, lane) {
		put := func(at int, bytes ...byte) {
			for i, b := range bytes {
				if at+i < len(rest) {
					rest[at+i] = b
				}
			}
		}
		at, next := number(t.from), number(t.next)
		to := at
		switch next {
		case hopByHop, destinations, routingHeader, fragmentHeader:
			to += 8 * (number(t.units) + 1)
			l4 := byte(number(t.l4))
			switch {
			case v.Is(t.broken, lane):
				put(at, destinations, 255)
			case v.Is(t.later, lane) && next == fragmentHeader:
				put(at, l4, 0, 0, 8)
			case v.Is(t.later, lane):
				put(at, fragmentHeader, 0, 0, 0)
				put(at+8, l4, 0, 0, 8)
			case next == fragmentHeader && to > at+8:
				put(at, destinations, 0, 0, 0)
				put(at+8, l4, byte((to-at-16)/8), 0, 0)
			case next == fragmentHeader:
				put(at, l4, 0, 0, 0)
			default:
				put(at, l4, byte((to-at-8)/8), 0, 0)
			}
		}
		for i, w := range t.transport {
			put(to+i, byte(number(w)))
		}
	}
	return append(out, rest...)
}

// Line gives the frame in a lane as what "macvtap-filter explain" takes.
func (f *Frame) Line(v Values, lane int) string {
	direction := "--out"
	if f.Hook == ruleset.Ingress {
		direction = "--in"
	}
	return fmt.Sprintf("macvtap-filter explain %s --hex %x", direction, f.Bytes(v, lane))
}
