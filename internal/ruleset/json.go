package ruleset

import (
	"bytes"
	"encoding/json"
	"net/netip"
)

// object is one JSON object of nft's schema (libnftables-json(5)).
type object map[string]any

// JSON writes tables in nft's JSON, which "nft -j -f" loads
// (libnftables-json(5), schema version 1), ending in a newline.
func JSON(tables []Table) ([]byte, error) {
	list := []any{object{"metainfo": object{"json_schema_version": 1}}}
	for _, t := range tables {
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
		list = append(list, part("set", s.json()))
	}
	for _, c := range t.Chains {
		list = append(list, part("chain", c.json()))
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			list = append(list, part("rule", r.json(c.Name)))
		}
	}
	return list
}

func (s Set) json() object {
	o := object{"name": s.Name, "type": s.Key}
	if len(s.Key) == 1 {
		o["type"] = s.Key[0]
	}
	if s.Interval {
		o["flags"] = []string{"interval"}
	}
	// That a set is dynamic nft sees by the rules that update it; 1.0.6 has no word for it.
	if s.Size() > 0 {
		o["size"] = s.Size()
	}
	var elements []any
	for _, e := range s.Elements {
		elements = append(elements, e.json(s.Key))
	}
	if elements != nil {
		o["elem"] = elements
	}
	return o
}

func (e Element) json(key []Type) any {
	parts := make([]any, len(key))
	for i, t := range key {
		parts[i] = t.jsonValue(e.From[i])
		if p, ok := e.prefix(i, t); ok {
			parts[i] = prefixJSON(p)
		} else if to := t.jsonValue(e.To[i]); to != parts[i] {
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

func (r Rule) json(chain string) object {
	var statements []any
	for _, m := range r.Matches {
		statements = append(statements, m.json())
	}
	if u := r.Update; u != nil {
		statements = append(statements, object{"set": object{"op": "update", "elem": u.Field.json(), "set": "@" + u.Set}})
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

func (f Field) json() any {
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

func (m Compare) json() any {
	return matching(m.Op, m.Field.json(), m.Field.Type.jsonValue(m.Value))
}

func (m InPrefix) json() any {
	return matching(negated(m.Not), m.Field.json(), prefixJSON(m.Prefix))
}

func prefixJSON(p netip.Prefix) any {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return object{"prefix": object{"addr": p.Addr().String(), "len": p.Bits()}}
}

func (m Masked) json() any {
	t := m.Field.Type
	left := object{"&": []any{m.Field.json(), t.jsonValue(m.Mask)}}
	return matching(m.Op, left, t.jsonValue(m.Value))
}

func (m Between) json() any {
	t := m.Field.Type
	return matching(Equal, m.Field.json(), object{"range": []any{t.jsonValue(m.From), t.jsonValue(m.To)}})
}

func (m OneOf) json() any {
	parts := make([]any, len(m.Elements))
	for i, e := range m.Elements {
		parts[i] = e.json([]Type{m.Field.Type})
	}
	return matching(negated(m.Not), m.Field.json(), object{"set": parts})
}

func (m Lookup) json() any {
	var left any
	if len(m.Fields) == 1 {
		left = m.Fields[0].json()
	} else {
		parts := make([]any, len(m.Fields))
		for i, f := range m.Fields {
			parts[i] = f.json()
		}
		left = object{"concat": parts}
	}
	return matching(negated(m.Not), left, "@"+m.Set)
}
