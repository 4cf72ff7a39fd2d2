package reach

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"macvtap-filter/internal/ruleset"
)

// protocols gives the protocols of a family in classes that no rule tells apart: those with
// ports and its own ICMP first. Extension headers of IPv6 are none.
func (r *rules) protocols(f family) [][]byte {
	out := [][]byte{{ruleset.TCP}, {ruleset.UDP}, {ruleset.SCTP}, {f.icmp()}}
	asks := r.asks(f)
	classes := map[string]int{}
	for n := range 255 {
		p := byte(n)
		if !f.isOther(p) {
			continue
		}
		answers := make([]byte, len(asks))
		for i, ask := range asks {
			answers[i] = ask(p)
		}
		i, alike := classes[string(answers)]
		if !alike {
			i = len(out)
			classes[string(answers)] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func (f family) icmp() byte {
	if f.bytes == 4 {
		return ruleset.ICMP
	}
	return ruleset.ICMPv6
}

// isOther reports whether a number is a protocol of datagrams without IPv6's extension headers,
// and none of those with ports or the family's own ICMP.
func (f family) isOther(p byte) bool {
	extensions := []byte{0, 43, 44, 51, 60, 135, 139, 140}
	return p != 0 && p != 255 && !hasPorts(p) && p != f.icmp() && (f.bytes == 4 || !slices.Contains(extensions, p))
}

// asks gives all that the rules ask of a datagram's protocol. Prefixes are of addresses alone.
func (r *rules) asks(f family) []func(p byte) byte {
	var out []func(byte) byte
	compared := map[[2]byte]bool{}
	compare := func(at int, mask byte, values ...[]byte) {
		for _, v := range values {
			if key := [2]byte{mask, v[at]}; !compared[key] {
				compared[key] = true
				out = append(out, func(p byte) byte { return byte(1 + cmp.Compare(p&mask, key[1])) })
			}
		}
	}
	r.visit(f, func(m ruleset.Match) {
		for i, field := range ruleset.Fields(m) {
			at, ok := f.protocolIn(field)
			if !ok {
				continue
			}
			whole := field.Size == 1 && len(ruleset.Fields(m)) == 1
			elements := r.sets[setOf(m)].Elements
			switch m := m.(type) {
			case ruleset.Lookup:
				if whole {
					out = append(out, func(p byte) byte {
						return truth(slices.ContainsFunc(elements, func(e ruleset.Element) bool { return within([]byte{p}, e.From[0], e.To[0]) }))
					})
					continue
				}
				for _, e := range elements {
					compare(at, 0xff, e.From[i], e.To[i])
				}
			case ruleset.Compare:
				compare(at, 0xff, m.Value)
			case ruleset.Masked:
				compare(at, m.Mask[at], m.Value)
			case ruleset.Between:
				compare(at, 0xff, m.From, m.To)
			case ruleset.OneOf:
				if whole {
					out = append(out, func(p byte) byte { return truth(ruleset.Holds(m, []byte{p})) })
					continue
				}
				for _, e := range m.Elements {
					compare(at, 0xff, e.From[0], e.To[0])
				}
			}
		}
	})
	return out
}

func setOf(m ruleset.Match) string {
	if m, ok := m.(ruleset.Lookup); ok {
		return m.Set
	}
	return ""
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// protocolIn says which byte of a field a datagram's protocol is, if it is one.
func (f family) protocolIn(field ruleset.Field) (at int, ok bool) {
	if field == ruleset.L4Proto {
		return 0, true
	}
	at = 9 - int(field.Offset)
	if f.bytes == 16 {
		at = 6 - int(field.Offset)
	}
	return at, field.Base == ruleset.NetworkHeader && at >= 0 && at < int(field.Size)
}

// visit shows the matches of all rules that frames of a family can come to.
func (r *rules) visit(f family, show func(ruleset.Match)) {
	seen := map[string]bool{}
	var visit func(chain string)
	visit = func(chain string) {
		if seen[chain] {
			return
		}
		seen[chain] = true
		for _, one := range r.chains[chain] {
			if ofAnother(one.matches, f.kind()) {
				continue
			}
			for _, m := range one.matches {
				show(m)
			}
			if to := one.Verdict.Chain(); to != "" {
				visit(to)
			}
		}
	}
	for _, base := range r.bases {
		visit(base)
	}
}

// ofAnother reports whether a rule is for frames of another EtherType.
func ofAnother(matches []ruleset.Match, kind uint16) bool {
	is := binary.BigEndian.AppendUint16(nil, kind)
	return slices.ContainsFunc(matches, func(m ruleset.Match) bool {
		c, ok := m.(ruleset.Compare)
		return ok && (c.Field == ruleset.EtherType || c.Field == ruleset.Protocol) && c.Op == ruleset.Equal && !bytes.Equal(c.Value, is)
	})
}
