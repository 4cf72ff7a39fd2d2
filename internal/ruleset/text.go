package ruleset

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Text writes the rules of interfaces as nft text that "nft -f" loads: the one table that
// holds them (Merge), and other tables as they are. It expects what Validate finds right.
func Text(tables []Table) string {
	tables = printed(tables)
	texts := make([]string, len(tables))
	for i, t := range tables {
		texts[i] = t.String()
	}
	return strings.Join(texts, "\n")
}

// printed gives the tables that hold rules.
func printed(tables []Table) []Table {
	var interfaces, others []Table
	for _, t := range tables {
		if t.ofInterface() {
			interfaces = append(interfaces, t)
		} else {
			others = append(others, t)
		}
	}
	if len(interfaces) > 0 {
		others = append([]Table{Merge(interfaces)}, others...)
	}
	return others
}

// ofInterface reports whether a table is the rules of one interface.
func (t Table) ofInterface() bool {
	_, ok := TableDevice(t.Name)
	return ok
}

// String writes the table as nft text, as nft(8) lists one: sets and chains in
// their order, one rule a line.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s {\n", t.Name)
	if t.Comment != "" {
		fmt.Fprintf(&b, "\tcomment \"%s\"\n", t.Comment)
	}
	writeUnknown(&b, "\t", t.Unknown)
	if t.CheckOffload {
		b.WriteString("\t# Behind these rules a program of traffic control drops what checksum offload would change.\n")
	}
	for _, c := range t.Counters {
		fmt.Fprintf(&b, "\n\tcounter %s {\n\t\tpackets 0 bytes 0\n\t}\n", c)
	}
	filled := t.Filled() // the kernel gives a set without a size its own when rules come that fill it
	for _, s := range t.Sets {
		s.write(&b, t.Interfaces, filled[s.Name])
	}
	for _, c := range t.Chains {
		c.write(&b, t.Interfaces)
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) write(b *strings.Builder, n names, filled bool) {
	fmt.Fprintf(b, "\n\tset %s {\n\t\t%s\n", s.Name, s.declaration())
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if s.Size() > 0 && (s.Dynamic == 0 || filled) {
		fmt.Fprintf(b, "\t\tsize %d\n", s.Size())
	}
	if s.Changes() {
		b.WriteString("\t\tflags " + s.flags() + "\n")
	}
	if len(s.Elements) > 0 {
		b.WriteString("\t\telements = {\n")
		for _, e := range s.Elements {
			fmt.Fprintf(b, "\t\t\t%s,\n", e.text(s.Key, n))
		}
		b.WriteString("\t\t}\n")
	}
	writeUnknown(b, "\t\t", s.Unknown)
	b.WriteString("\t}\n")
}

// flags are those of a set whose elements come and go.
func (s Set) flags() string {
	switch {
	case !s.Expires:
		return "dynamic"
	case s.Dynamic == 0:
		return "timeout"
	}
	return "dynamic,timeout"
}

// declaration says what the keys are.
func (s Set) declaration() string {
	if s.Typeof != nil {
		return "typeof " + joined(s.Typeof)
	}
	types := make([]string, len(s.Key))
	for i, t := range s.Key {
		types[i] = string(t)
	}
	return "type " + strings.Join(types, " . ")
}

// joined writes fields as one value.
func joined(fields []Field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.String()
	}
	return strings.Join(all, " . ")
}

// writeUnknown writes what was read from the kernel and not understood as a comment.
func writeUnknown(b *strings.Builder, indent, unknown string) {
	if unknown != "" {
		fmt.Fprintf(b, "%s# unknown: %s\n", indent, unknown)
	}
}

func (e Element) text(key []Type, n names) string {
	parts := make([]string, len(key))
	for i, t := range key {
		parts[i] = t.value(e.From[i], n)
		if p, ok := e.prefix(i, t); ok {
			parts[i] = p.String()
		} else if to := t.value(e.To[i], n); to != parts[i] {
			parts[i] += "-" + to
		}
	}
	if e.Comment != "" {
		return strings.Join(parts, " . ") + ` comment "` + e.Comment + `"`
	}
	return strings.Join(parts, " . ")
}

func (c Chain) write(b *strings.Builder, n names) {
	fmt.Fprintf(b, "\n\tchain %s {\n", c.Name)
	if c.Hook != nil {
		fmt.Fprintf(b, "\t\t%s\n", c.Hook)
	}
	writeUnknown(b, "\t\t", c.Unknown)
	for _, r := range c.Rules {
		fmt.Fprintf(b, "\t\t%s\n", r.text(n))
	}
	b.WriteString("\t}\n")
}

// String writes the hook as the first line of its chain.
func (h Hook) String() string {
	return fmt.Sprintf("type filter hook %s %s priority %s; policy %s;", h.Type, h.devices(), h.priority(), h.policy())
}

func (h Hook) devices() string {
	if len(h.Names) > 0 {
		return `devices = { "` + strings.Join(h.Names, `", "`) + `" }`
	}
	if len(h.Prefixes) == 0 {
		return `device "` + h.Device + `"`
	}
	return `devices = { "` + strings.Join(h.Prefixes, `*", "`) + `*" }`
}

func (h Hook) priority() string {
	if h.Priority == 0 {
		return "filter"
	}
	return strconv.Itoa(int(h.Priority))
}

func (h Hook) policy() Verdict {
	if h.Policy == (Verdict{}) {
		return Drop
	}
	return h.Policy
}

// String writes the rule as one line of nft text, devices by their index.
func (r Rule) String() string { return r.text(nil) }

func (r Rule) text(n names) string {
	if r.Unknown != "" {
		return "# unknown: " + r.Unknown
	}
	var words []string
	for _, m := range r.Matches {
		words = append(words, m.text(n))
	}
	for _, u := range r.Updates {
		words = append(words, u.String())
	}
	if r.Limit > 0 {
		words = append(words, fmt.Sprintf("limit rate %d/second burst %d packets", r.Limit, r.Limit))
	}
	if r.Log != "" {
		words = append(words, `log prefix "`+r.Log+`" level info`)
	}
	if r.Counter != "" {
		words = append(words, fmt.Sprintf("counter name %q", r.Counter))
	}
	if r.Mark != nil {
		words = append(words, fmt.Sprintf("meta mark set 0x%08x", *r.Mark))
	}
	for _, w := range r.Writes {
		words = append(words, w.String())
	}
	if r.Verdict.kind != "" {
		words = append(words, r.Verdict.String())
	}
	if r.Comment != "" {
		words = append(words, `comment "`+r.Comment+`"`)
	}
	return strings.Join(words, " ")
}

// String writes the update as nft text.
func (u Update) String() string {
	words := joined(u.Fields)
	if u.Count {
		words += " counter"
	}
	if u.Timeout > 0 {
		words += " timeout " + duration(u.Timeout)
	}
	if u.Share != (Share{}) {
		words += " " + u.Share.String()
	}
	if u.Delete {
		return fmt.Sprintf("delete @%s { %s }", u.Set, words)
	}
	return fmt.Sprintf("update @%s { %s }", u.Set, words)
}

// String writes the write as nft text.
func (w Write) String() string {
	if w.Value == nil {
		return w.To.String() + " set " + w.From.String()
	}
	return w.To.String() + " set " + w.To.Type.value(w.Value, nil)
}

// String writes the share as nft text.
func (s Share) String() string {
	over := ""
	if s.Over {
		over = "over "
	}
	return fmt.Sprintf("limit rate %s%d/%s burst %d packets", over, s.Rate, s.unit(), s.Burst)
}

func (s Share) unit() string {
	switch s.Unit {
	case Week:
		return "week"
	case Day:
		return "day"
	}
	return "second"
}

// duration writes a time as nft does (src/datatype.c, time_print): 1d2h3m4s500ms.
func duration(d time.Duration) string {
	var out string
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", Day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / unit.size; n > 0 {
			out += fmt.Sprint(int64(n)) + unit.name
			d -= n * unit.size
		}
	}
	return out
}

// before puts nft's operator before a value; Equal is silent.
func (o Op) before(value string) string {
	if o == Equal {
		return value
	}
	return string(o) + " " + value
}

func negated(not bool) Op {
	if not {
		return NotEqual
	}
	return Equal
}

func (m Compare) text(n names) string {
	return m.Field.String() + " " + m.Op.before(m.Field.Type.value(m.Value, n))
}

func (m InPrefix) text(names) string {
	p := m.Prefix.String()
	if m.Prefix.IsSingleIP() {
		p = m.Prefix.Addr().String()
	}
	return m.Field.String() + " " + negated(m.Not).before(p)
}

func (m Masked) text(n names) string {
	t := m.Field.Type
	return fmt.Sprintf("%s & %s %s %s", m.Field, t.value(m.Mask, n), m.Op, t.value(m.Value, n))
}

func (m Between) text(n names) string {
	t := m.Field.Type
	return fmt.Sprintf("%s %s-%s", m.Field, t.value(m.From, n), t.value(m.To, n))
}

func (m OneOf) text(n names) string {
	parts := make([]string, len(m.Elements))
	for i, e := range m.Elements {
		parts[i] = e.text([]Type{m.Field.Type}, n)
	}
	return m.Field.String() + " " + negated(m.Not).before("{ "+strings.Join(parts, ", ")+" }")
}

func (m Lookup) text(names) string {
	return joined(m.Fields) + " " + negated(m.Not).before("@"+m.Set)
}
