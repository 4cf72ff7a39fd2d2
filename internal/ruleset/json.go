package ruleset

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// object is one JSON object of nft's schema (libnftables-json(5)).
type object map[string]any

// JSON writes tables as Text does in nft's JSON, which "nft -j -f" loads
// (libnftables-json(5), schema version 1), ending in a newline.
func JSON(tables []Table) ([]byte, error) {
	list := []any{object{"metainfo": object{"json_schema_version": 1}}}
	for _, t := range printed(tables) {
		list = append(list, t.json()...)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // "<", not "\u003c"
	enc.SetIndent("", "  ")
	err := enc.Encode(object{"nftables": list})
	return out.Bytes(), err
}

// json lists the table's parts in an order in which each names only earlier
// ones.
func (t Table) json() []any {
	part := func(kind string, o object) any {
		o["family"] = "netdev"
		if kind != "table" {
			o["table"] = t.Name
		}
		return object{kind: o}
	}
	table := object{"name": t.Name}
	if t.Comment != "" {
		table["comment"] = t.Comment
	}
	list := []any{part("table", table)}
	for _, c := range t.Counters {
		list = append(list, part("counter", object{"name": c, "packets": 0, "bytes": 0}))
	}
	for _, s := range t.Sets {
		if s.Typeof == nil {
			list = append(list, part("set", s.json(t.Interfaces)))
		}
	}
	for _, c := range t.Chains {
		list = append(list, part("chain", c.json()))
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if !t.neverInJSON(r) {
				list = append(list, part("rule", t.rule(r, c.Name)))
			}
		}
	}
	return list
}

func (s Set) json(n names) object {
	o := object{"name": s.Name, "type": s.Key}
	if len(s.Key) == 1 {
		o["type"] = s.Key[0]
	}
	if s.Interval {
		o["flags"] = []string{"interval"}
	}
	if s.Expires {
		o["flags"] = []string{"timeout"}
	}
	// That a set is dynamic nft sees by the rules that update it; 1.0.6 has no word for it.
	if s.Size() > 0 {
		o["size"] = s.Size()
	}
	var elements []any
	for _, e := range s.Elements {
		elements = append(elements, e.json(s.Key, n))
	}
	if elements != nil {
		o["elem"] = elements
	}
	return o
}

func (e Element) json(key []Type, n names) any {
	parts := make([]any, len(key))
	for i, t := range key {
		parts[i] = t.jsonValue(e.From[i], n)
		if p, ok := e.prefix(i, t); ok {
			parts[i] = prefixJSON(p)
		} else if to := t.jsonValue(e.To[i], n); to != parts[i] {
			parts[i] = object{"range": []any{parts[i], to}}
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return object{"concat": parts}
}

func (c Chain) json() object {
	o := object{"name": c.Name}
	if c.Hook != nil {
		o["type"], o["hook"], o["dev"] = "filter", c.Hook.Type, c.Hook.Device
		o["prio"], o["policy"] = c.Hook.Priority, "drop"
		if len(c.Hook.Names) > 0 {
			o["dev"] = c.Hook.Names
		}
		if len(c.Hook.Prefixes) > 0 {
			var devices []string
			for _, p := range c.Hook.Prefixes {
				devices = append(devices, p+"*")
			}
			o["dev"] = devices
		}
	}
	return o
}

// rule is a rule of the table in the chain of that name.
func (t Table) rule(r Rule, chain string) object {
	var statements []any
	for _, m := range r.Matches {
		if match := t.match(m); match != nil {
			statements = append(statements, match)
		}
	}
	for _, u := range r.Updates {
		if _, raw := t.rawSet(u.Set); !raw {
			statements = append(statements, object{"set": u.json()})
		}
	}
	if r.Limit > 0 {
		statements = append(statements, object{"limit": object{"rate": r.Limit, "burst": r.Limit, "per": "second"}})
	}
	if r.Log != "" {
		statements = append(statements, object{"log": object{"prefix": r.Log, "level": "info"}})
	}
	if r.Counter != "" {
		statements = append(statements, object{"counter": r.Counter})
	}
	if r.Mark != nil {
		statements = append(statements, object{"mangle": object{"key": PacketMark.json(), "value": *r.Mark}})
	}
	for _, w := range r.Writes {
		statements = append(statements, object{"mangle": object{"key": w.To.json(), "value": w.json()}})
	}
	var verdict any
	if r.Verdict.chain != "" {
		verdict = object{"target": r.Verdict.chain}
	}
	if r.Verdict.kind != "" {
		statements = append(statements, object{r.Verdict.kind: verdict})
	}
	o := object{"chain": chain, "expr": statements}
	if r.Comment != "" {
		o["comment"] = r.Comment
	}
	return o
}

func (u Update) json() object {
	element := concat(u.Fields)
	if u.Timeout > 0 {
		element = object{"elem": object{"val": element, "timeout": int(u.Timeout / time.Second)}}
	}
	out := object{"op": "update", "elem": element, "set": "@" + u.Set}
	if u.Delete {
		out["op"] = "delete"
	}
	var statements []any
	if u.Count {
		statements = append(statements, object{"counter": nil})
	}
	if u.Share != (Share{}) {
		statements = append(statements, object{"limit": u.Share.json()})
	}
	if statements != nil {
		out["stmt"] = statements
	}
	return out
}

func (s Share) json() object {
	out := object{"rate": s.Rate, "burst": s.Burst, "per": s.unit()}
	if s.Over {
		out["inv"] = true
	}
	return out
}

// json is what is written.
func (w Write) json() any {
	if w.Value == nil {
		return w.From.json()
	}
	return w.To.Type.jsonValue(w.Value, nil)
}

// rawSet gives a set that nft's JSON has no words to declare.
func (t Table) rawSet(name string) (Set, bool) {
	i := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == name && s.Typeof != nil })
	if i < 0 {
		return Set{}, false
	}
	return t.Sets[i], true
}

// neverInJSON reports whether a rule holds for no frame where only those sets are filled that
// nft's JSON has words for, or does nothing there. A rule that changes a frame and notes that
// it did would change all of them.
func (t Table) neverInJSON(r Rule) bool {
	for _, m := range r.Matches {
		lookup, ok := m.(Lookup)
		if !ok || lookup.Not {
			continue
		}
		if set, raw := t.rawSet(lookup.Set); raw && len(set.Elements) == 0 {
			return true
		}
	}
	left := slices.DeleteFunc(slices.Clone(r.Updates), func(u Update) bool { _, raw := t.rawSet(u.Set); return raw })
	return len(r.Writes) > 0 && len(left) < len(r.Updates) || len(r.Updates) > 0 && len(left) == 0 && r.Verdict == (Verdict{})
}

func (t Table) match(m Match) any {
	if lookup, ok := m.(Lookup); ok {
		if set, raw := t.rawSet(lookup.Set); raw {
			return lookup.inline(set, t.Interfaces)
		}
	}
	return m.json(t.Interfaces)
}

func (f Field) json() any {
	if f.Base == Constant {
		return f.Name
	}
	if f.Base == Meta {
		return object{"meta": object{"key": f.Name}}
	}
	if f.Type == TypeRaw {
		return object{"payload": object{"base": f.Header[1:], "offset": f.Offset * 8, "len": f.Size * 8}}
	}
	return object{"payload": object{"protocol": f.Header, "field": f.Name}}
}

func matching(op Op, left, right any) any {
	return object{"match": object{"op": op, "left": left, "right": right}}
}

func (m Compare) json(n names) any {
	return matching(m.Op, m.Field.json(), m.Field.Type.jsonValue(m.Value, n))
}

func (m InPrefix) json(names) any {
	return matching(negated(m.Not), m.Field.json(), prefixJSON(m.Prefix))
}

func prefixJSON(p netip.Prefix) any {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return object{"prefix": object{"addr": p.Addr().String(), "len": p.Bits()}}
}

func (m Masked) json(n names) any {
	t := m.Field.Type
	left := object{"&": []any{m.Field.json(), t.jsonValue(m.Mask, n)}}
	return matching(m.Op, left, t.jsonValue(m.Value, n))
}

func (m Between) json(n names) any {
	t := m.Field.Type
	return matching(Equal, m.Field.json(), object{"range": []any{t.jsonValue(m.From, n), t.jsonValue(m.To, n)}})
}

func (m OneOf) json(n names) any {
	parts := make([]any, len(m.Elements))
	for i, e := range m.Elements {
		parts[i] = e.json([]Type{m.Field.Type}, n)
	}
	return matching(negated(m.Not), m.Field.json(), object{"set": parts})
}

func (m Lookup) json(names) any { return matching(negated(m.Not), concat(m.Fields), "@"+m.Set) }

// concat joins fields to one value.
func concat(fields []Field) any {
	if len(fields) == 1 {
		return fields[0].json()
	}
	parts := make([]any, len(fields))
	for i, f := range fields {
		parts[i] = f.json()
	}
	return object{"concat": parts}
}

// inline is a lookup in a set that nft's JSON has no words to declare: an anonymous set of
// the same elements.
func (m Lookup) inline(s Set, n names) any {
	if len(s.Elements) == 0 { // what is not in it, is everything
		return nil
	}
	var elements []any
	for _, e := range s.Elements {
		elements = append(elements, e.json(s.Key, n))
	}
	return object{"match": object{"op": negated(m.Not), "left": concat(m.Fields), "right": object{"set": elements}}}
}
