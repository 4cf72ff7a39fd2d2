package ruleset

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
)

// Digest gives a text that tells parts apart by what they hold, the same on any machine: 32
// hexadecimal digits. It takes no account of the kind of attack that package crypto is for,
// which would initialise itself before each hook call: the rules are this program's own.
func (p Part) Digest() string {
	var d digest
	d.number(len(p.Sets))
	for _, s := range p.Sets {
		d.text(s.Name, s.Unknown)
		d.number(len(s.Key))
		for _, t := range s.Key {
			d.text(string(t))
		}
		d.fields(s.Typeof)
		d.is(s.Interval)
		d.number(s.Dynamic)
		d.is(s.Expires)
		d.elements(s.Elements)
	}
	for _, c := range p.Chains {
		d.text(c.Name, c.Unknown)
		d.number(len(c.Rules))
		for _, r := range c.Rules {
			d.rule(r)
		}
	}
	sum := fnv.New128a()
	sum.Write(d)
	return hex.EncodeToString(sum.Sum(nil))
}

// A digest is what is hashed: each value behind its length, so that no two lists of them are
// the same bytes.
type digest []byte

func (d *digest) number(n int) { *d = binary.AppendVarint(*d, int64(n)) }

func (d *digest) is(b bool) {
	n := 0
	if b {
		n = 1
	}
	d.number(n)
}

func (d *digest) text(all ...string) {
	for _, s := range all {
		d.number(len(s))
		*d = append(*d, s...)
	}
}

func (d *digest) values(all ...[]byte) {
	d.number(len(all))
	for _, v := range all {
		d.number(len(v))
		*d = append(*d, v...)
	}
}

func (d *digest) elements(all []Element) {
	d.number(len(all))
	for _, e := range all {
		d.values(e.From...)
		d.values(e.To...)
	}
}

func (d *digest) fields(all []Field) {
	d.number(len(all))
	for _, f := range all {
		d.text(f.Header, f.Name, string(f.Type))
		d.number(int(f.Base))
		d.number(int(f.Offset))
		d.number(int(f.Size))
		d.number(int(f.Needs))
		d.number(int(f.NeedsL4))
	}
}

func (d *digest) rule(r Rule) {
	d.number(len(r.Matches))
	for _, m := range r.Matches {
		d.match(m)
	}
	d.number(len(r.Updates))
	for _, u := range r.Updates {
		d.text(u.Set)
		d.fields(u.Fields)
		d.is(u.Delete)
		d.is(u.Count)
		d.number(int(u.Timeout))
		d.number(u.Share.Rate)
		d.number(u.Share.Burst)
		d.number(int(u.Share.Unit))
		d.is(u.Share.Over)
	}
	d.number(len(r.Writes))
	for _, w := range r.Writes {
		d.fields([]Field{w.To, w.From})
		d.values(w.Value)
	}
	if d.is(r.Mark != nil); r.Mark != nil {
		d.number(int(*r.Mark))
	}
	d.number(r.Limit)
	d.text(r.Log, r.Counter, r.Verdict.kind, r.Verdict.chain, r.Comment, r.Unknown)
}

func (d *digest) match(m Match) {
	d.fields(m.fields())
	switch m := m.(type) {
	case Compare:
		d.text("compare", string(m.Op))
		d.values(m.Value)
	case InPrefix:
		d.text("prefix", m.Prefix.String())
		d.is(m.Not)
	case Masked:
		d.text("masked", string(m.Op))
		d.values(m.Mask, m.Value)
	case Between:
		d.text("between")
		d.values(m.From, m.To)
	case OneOf:
		d.text("one of")
		d.is(m.Not)
		d.elements(m.Elements)
	case Lookup:
		d.text("lookup", m.Set)
		d.is(m.Not)
	default:
		panic(fmt.Sprintf("a digest of %T", m))
	}
}
