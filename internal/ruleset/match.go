package ruleset

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Op is how a match compares: nft's relational operators.
type Op string

// The operators of nft(8), "RELATIONAL". Equal is left out in nft's text.
const (
	Equal        Op = "=="
	NotEqual     Op = "!="
	Less         Op = "<"
	GreaterEqual Op = ">="
)

// A Match is one condition of a rule; a rule applies when all of its matches
// hold. A match whose field lies beyond the end of the frame does not hold,
// whatever its operator, as in the kernel (net/netfilter/nft_payload.c breaks
// off the rule). Rules that accept therefore say what must be there.
//
// The kinds are Compare, InPrefix, Masked, Between, OneOf and Lookup, and no other:
// a kind that only one of text and kernel knew would make them differ.
type Match interface {
	text(names) string
	json(names) any
	fields() []Field
}

// Compare holds when the whole field compares with Value (network byte order,
// as long as the field).
type Compare struct {
	Field Field
	Op    Op
	Value []byte
}

// InPrefix holds when the field's address lies in Prefix, or, with Not, when it
// does not. A prefix of length 0 cannot be written; leave the match out.
type InPrefix struct {
	Field  Field
	Not    bool
	Prefix netip.Prefix
}

// Masked holds when the field's bits under Mask compare with Value.
type Masked struct {
	Field Field
	Mask  []byte
	Op    Op
	Value []byte
}

// Between holds when From <= field <= To.
type Between struct {
	Field    Field
	From, To []byte
}

// OneOf holds when the field is, or lies within, one of the elements, or, with
// Not, in none: nft's anonymous set. It is for fields that no named set can be
// declared for, and for a few values. Elements have one value each, and are at
// least two: of one, nft makes a compare, and so does Among.
type OneOf struct {
	Field    Field
	Not      bool
	Elements []Element
}

// Lookup holds when the fields, joined in that order, are an element of the
// table's set of that name, or, with Not, when they are not.
type Lookup struct {
	Fields []Field
	Not    bool
	Set    string
}

func (m Compare) fields() []Field  { return []Field{m.Field} }
func (m InPrefix) fields() []Field { return []Field{m.Field} }
func (m Masked) fields() []Field   { return []Field{m.Field} }
func (m Between) fields() []Field  { return []Field{m.Field} }
func (m OneOf) fields() []Field    { return []Field{m.Field} }
func (m Lookup) fields() []Field   { return m.Fields }

// Ranges reports whether an element is more than one value.
func (m OneOf) Ranges() bool {
	return slices.ContainsFunc(m.Elements, func(e Element) bool { return !bytes.Equal(e.From[0], e.To[0]) })
}

// Among matches a field that is, or lies within, one of the elements, of which
// there is at least one, or, with not, in none. A single range cannot be negated.
func Among(f Field, not bool, elements ...Element) Match {
	if len(elements) > 1 {
		return OneOf{Field: f, Not: not, Elements: elements}
	}
	from, to := elements[0].From[0], elements[0].To[0]
	if !bytes.Equal(from, to) {
		return Between{Field: f, From: from, To: to}
	}
	if not {
		return Compare{Field: f, Op: NotEqual, Value: from}
	}
	return Compare{Field: f, Op: Equal, Value: from}
}

// Byte is the match "field is value" for a field of one byte.
func Byte(f Field, value byte) Compare {
	return Compare{Field: f, Op: Equal, Value: []byte{value}}
}

// Is is the match "field is value" for a two-byte value such as an EtherType.
func Is(f Field, value uint16) Compare {
	return Compare{Field: f, Op: Equal, Value: binary.BigEndian.AppendUint16(nil, value)}
}

// Number is the comparison of a field with a number in the byte order of the
// machine: a mark or an interface index.
func Number(f Field, op Op, value uint32) Compare {
	return Compare{Field: f, Op: op, Value: binary.NativeEndian.AppendUint32(nil, value)}
}

// Kind is the comparison of a field with a device's kind, as in "ip -d link".
func Kind(f Field, op Op, kind string) Compare {
	value := make([]byte, f.Size)
	copy(value, kind)
	return Compare{Field: f, Op: op, Value: value}
}

// Fields gives the fields that a match reads, in order.
func Fields(m Match) []Field { return m.fields() }
