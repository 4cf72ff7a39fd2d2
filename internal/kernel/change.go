package kernel

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/ruleset"
)

// A transaction is what has to be changed in the one table.
type transaction struct {
	picture  *picture
	table    ruleset.Table // what stands
	standing []Held

	seen     map[string]string // digests of the parts that were read and are as they should be, or will be, by name
	used     map[string]string // by the names of interfaces, the part that each will have
	index    map[string]uint32 // and the device, by its index
	made     ruleset.Table     // what is made: sets, chains with their rules
	fresh    []string          // chains whose rules go first
	gone     []string          // chains that go
	add      map[string][]ruleset.Element
	del      map[string][]ruleset.Element
	departed map[uint32]bool        // indexes whose flows go, see dropFlows
	moved    bool                   // an interface that stands has another part, see forget
	trim     bool                   // the sets are full of what rules added
	sets     map[string]ruleset.Set // own ones that stand or will
	stars    map[string]bool        // those that have the element *
	tables   []uint64               // handles of tables that go
	old      map[string]bool        // base chains that take the place of such a table's
	live     bool                   // base chains of devices in use change, see prepare

	starts   bool     // these are the rules of a VM that starts: what others learned is of no use
	counters []string // that will be counted, each once, in the order of their first use
	foreign  foreignParts

	trusted map[string]string // see trust

	parts map[string]ruleset.Part // those that were read, by name
	other map[string]string       // and what they were last seen not to be

	compared map[[2]*ruleset.Rule]bool // see samePart
	digests  digests
}

func newTransaction(p *picture, held []Held, sums digests) *transaction {
	t := &transaction{
		picture: p, table: p.table(), standing: held, foreign: p.foreign(),
		seen: map[string]string{}, used: map[string]string{}, index: map[string]uint32{}, old: map[string]bool{},
		made:  ruleset.Table{Name: ruleset.RulesTable},
		parts: map[string]ruleset.Part{}, other: map[string]string{},
		trusted: map[string]string{}, compared: map[[2]*ruleset.Rule]bool{}, digests: sums,
		add: map[string][]ruleset.Element{}, del: map[string][]ruleset.Element{}, sets: map[string]ruleset.Set{}, stars: map[string]bool{}, departed: map[uint32]bool{},
	}
	for _, s := range t.table.Sets {
		if s.Own() {
			t.sets[s.Name] = s
		}
	}
	for _, h := range held {
		if !h.old {
			t.used[h.Name] = h.Table.Policy
			t.index[h.Name], _ = h.Table.Index()
		}
	}
	return t
}

// want has the rules of an interface stand.
func (t *transaction) want(should ruleset.Table, anew bool) {
	i := slices.IndexFunc(t.standing, func(h Held) bool { return h.Name == should.Name && !h.old })
	old := slices.IndexFunc(t.standing, func(h Held) bool { return h.Name == should.Name && h.old })
	stands := i >= 0
	if stands && old < 0 && !anew {
		as := t.standing[i].Table
		as.CheckOffload = should.CheckOffload // it is no part of the table
		// What another process owns would go with it.
		if t.picture.owner == 0 && t.samePart(should, as) && ruleset.Stands(should.Alone(), as.Alone()) {
			return
		}
	}
	name, unread := t.part(should)
	before := t.used[should.Name]
	t.moved = t.moved || before != "" && before != name
	t.used[should.Name] = name
	if unread { // what drops and counts for it was seen with it
		for n, s := range should.Sets {
			if _, read := t.sets[s.Name]; n > 0 && s.Own() && !read { // the first is always read
				t.sets[s.Name] = s
			}
		}
	} else {
		for _, c := range should.Counters {
			if !slices.Contains(t.counters, c) {
				t.counters = append(t.counters, c)
			}
		}
	}
	index, _ := should.Index()
	t.index[should.Name] = index
	keep := false
	if old >= 0 {
		should = inherit(should, t.standing[old])
		t.tables = append(t.tables, t.standing[old].Handle)
	}
	if stands {
		was, _ := t.standing[i].Table.Index()
		keep = was == index && sameVM(t.standing[i].Comment, should.Comment)
		if was != index {
			t.leave(was)
		}
	}
	t.live = t.live || keep || old >= 0
	for _, c := range should.Bases(name) {
		t.old[c.Name] = old >= 0
		t.base(c, keep || old >= 0)
	}
	t.elements(should, index, keep && !t.starts)
	if !t.starts {
		t.grace(should, index, stands && keep, i)
	}
}

// sameVM tells by their comments whether rules of one device are of one VM: those of a device
// that libvirt did not name yet, when watch saw it, are of the VM that it names.
func sameVM(stands, should string) bool {
	owner := filter.ParseOwner(stands)
	return stands == should || owner.UUID == domain.UnknownUUID || owner.IsDevice()
}

// samePart compares the parts of what should stand and stands, those of many interfaces once.
func (t *transaction) samePart(should, stands ruleset.Table) bool {
	a, b := should.Part(), stands.Part()
	pair := [2]*ruleset.Rule{a.Memory(), b.Memory()}
	same, known := t.compared[pair]
	if !known {
		same = a.Same(b)
		t.compared[pair] = same
	}
	return same
}

// base has a base chain stand. One of the very device gets other rules; any other is made
// anew, for it may not be bound to the device that has its name now.
func (t *transaction) base(c ruleset.Chain, sameDevice bool) {
	if now := t.picture.chains[c.Name]; now != nil {
		t.fresh = append(t.fresh, c.Name)
		bound := now.Hook != nil
		if bound {
			hook := *now.Hook
			hook.Policy = ruleset.Drop // it can be changed
			bound = ruleset.SameHook(&hook, c.Hook)
		}
		if !sameDevice || !bound || now.Unknown != "" {
			t.gone = append(t.gone, c.Name)
		}
	}
	t.made.Chains = append(t.made.Chains, c)
}

// part gives the name of the part that the interface's rules will have: one that stands and
// is the same, or a new one. unread says that it is trusted, and was not read.
func (t *transaction) part(should ruleset.Table) (name string, unread bool) {
	part := should.Part()
	if len(part.Chains) == 0 {
		return "", false
	}
	content := t.digests.of(part)
	for name := range should.Names {
		switch {
		case t.seen[name] == content:
			return name, false
		case t.seen[name] != "":
			continue
		case t.trusted[name] == content:
			return name, true
		case t.trusted[name] != "":
			continue // another one, which was not read
		}
		known, read := t.parts[name]
		if !read {
			known = ruleset.PartOf(t.table, name)
			t.parts[name] = known
		}
		switch {
		case t.other[name] == content:
			continue
		case len(known.Chains) > 0 && known.Same(part):
		case len(known.Chains) > 0 || t.taken(should.Named(name), name):
			t.other[name] = content
			continue
		default:
			named := should.Named(name)
			t.made.Chains, t.made.Sets = append(t.made.Chains, named.Chains...), append(t.made.Sets, named.Sets...)
		}
		t.seen[name], t.trusted[name] = content, content
		return name, false
	}
	return "", false
}

// taken reports whether something stands that has a name of a part, though it is none.
func (t *transaction) taken(should ruleset.Part, part string) bool {
	return slices.ContainsFunc(t.table.Sets, func(s ruleset.Set) bool {
		return slices.ContainsFunc(should.Sets, func(o ruleset.Set) bool { return o.Name == s.Name })
	}) || slices.ContainsFunc(t.table.Chains, func(c ruleset.Chain) bool { return ruleset.PartName(c.Name) == part })
}

// reasons has the chains stand that drop and count, as they should be.
func (t *transaction) reasons() {
	for _, c := range t.counters {
		should := ruleset.ReasonChain(c)
		if slices.ContainsFunc(t.made.Chains, func(m ruleset.Chain) bool { return m.Name == should.Name }) {
			continue
		}
		if now := t.picture.chains[should.Name]; now != nil {
			if _, right := ruleset.IsReason(now.Chain); right {
				continue
			}
			t.fresh = append(t.fresh, should.Name)
		}
		t.made.Chains = append(t.made.Chains, should)
		t.own(ruleset.DropSet(c))
	}
}

// own has a set of what is interfaces' own stand.
func (t *transaction) own(s ruleset.Set) {
	if _, stands := t.sets[s.Name]; stands {
		return
	}
	s.Elements = nil
	t.sets[s.Name] = s
	t.made.Sets = append(t.made.Sets, s)
}

// checkSets looks at the sets of what is interfaces' own that stand: what is in one holds for
// all. The element *, which would be every interface's, goes; a set that is declared in another
// way cannot be made anew while rules look into it.
func (t *transaction) checkSets(tables []ruleset.Table) error {
	for _, table := range tables {
		for _, should := range table.Sets {
			n := slices.IndexFunc(t.table.Sets, func(s ruleset.Set) bool { return s.Name == should.Name })
			if !should.Own() || n < 0 {
				continue
			}
			stands := t.table.Sets[n]
			if stands.Unknown == catchAll {
				t.stars[should.Name] = true
				stands.Unknown = ""
			}
			stands.Elements, should.Elements = nil, nil
			if !ruleset.SameSet(stands, should) {
				return fmt.Errorf("nftables' set %q of the table %q is somebody's (%s): \"nft delete table netdev %s\" and \"macvtap-filter apply --all\" make it anew",
					should.Name, ruleset.RulesTable, cmp.Or(stands.Unknown, "of another type or size"), ruleset.RulesTable)
			}
		}
	}
	return nil
}

// share is how much of what rules added is kept of an interface where a set is full.
const share = 256

// elements has the elements of an interface stand, and no others of its index: but those
// that rules added, if they are of this very interface and VM.
func (t *transaction) elements(should ruleset.Table, index uint32, keep bool) {
	for _, s := range should.Sets {
		if !s.Own() {
			continue
		}
		t.own(s)
		t.add[s.Name] = append(t.add[s.Name], s.Elements...)
	}
	if t.trim {
		t.trimElements()
	}
	filled := should.Filled()
	isOf := func(e ruleset.Element) bool { return e.ElementOf(index) }
	if !keep && slices.ContainsFunc(t.sets[ruleset.Anchor].Elements, isOf) {
		t.departed[index] = true
	}
	t.dropElements(index, func(s ruleset.Set, e ruleset.Element) bool {
		if keep && (filled[s.Name] || ruleset.IsDrops(s.Name) || s.Dynamic == 0 && s.Expires) {
			return true
		}
		return slices.ContainsFunc(t.add[s.Name], func(a ruleset.Element) bool { return ruleset.SameElement(a, e) })
	})
}

// grace gives an interface whose VM runs already its time in those sets that its rules, the
// ones of that number where it has some, did not look into before.
func (t *transaction) grace(should ruleset.Table, index uint32, stands bool, number int) {
	learned := func(s ruleset.Set) bool {
		return s.Lasts && slices.ContainsFunc(s.Elements, func(e ruleset.Element) bool { return e.Left > 0 })
	}
	known := slices.ContainsFunc(should.Sets, learned) // it comes with what was learned before
	for _, s := range should.Sets {
		if knew := stands && t.standing[number].Table.Uses(s.Name) || known && !s.Regrace; s.Grace > 0 && !knew {
			key := [][]byte{binary.NativeEndian.AppendUint32(nil, index)}
			t.add[s.Name] = append(t.add[s.Name], ruleset.Element{From: key, To: key, Left: s.Grace})
		}
	}
}

// trimElements takes away of each interface what is above its share: hosts of the LAN may
// have filled a set, each by many addresses.
func (t *transaction) trimElements() {
	for _, s := range t.table.Sets {
		if !s.Own() || s.Dynamic == 0 {
			continue
		}
		of := map[string]int{}
		for _, e := range s.Elements {
			if of[string(e.From[0])]++; of[string(e.From[0])] > share {
				t.del[s.Name] = append(t.del[s.Name], e)
			}
		}
	}
}

// endsItself is the time that a flow may have left which is not taken away: one that ends before the
// transaction comes would have the kernel refuse it.
const endsItself = 5 * time.Second

// dropFlows takes away the flows of indexes whose interfaces are gone: they are another VM's
// when an index is used again. What other interfaces have is not looked at but for that.
func (t *transaction) dropFlows() error {
	if len(t.departed) == 0 {
		return nil
	}
	for name, s := range t.picture.sets {
		if !ruleset.IsFlows(name) {
			continue
		}
		flows := *s
		goes := func(e element) bool {
			return len(e.key) >= 4 && t.departed[binary.NativeEndian.Uint32(e.key)] && (e.left == 0 || e.left > endsItself)
		}
		if err := t.picture.readElements(&flows, goes); err != nil {
			return err
		}
		// A set that grows meanwhile is listed with some of them twice (rhashtable_walk_start).
		t.del[name] = append(t.del[name], slices.CompactFunc(flows.named().Elements, ruleset.SameElement)...)
	}
	return nil
}

// forget gives the messages that empty the parts' sets of connections that passed just now, where
// one of them may be a connection of an interface that is gone, or one from before an interface
// had another part, and has ended meanwhile. Each is soon found again.
func (t *transaction) forget() ([]netlink.Message, error) {
	if len(t.departed) == 0 && !t.moved {
		return nil, nil
	}
	var out []netlink.Message
	for _, part := range slices.Compact(slices.Sorted(maps.Values(t.used))) {
		for _, name := range ruleset.PassedSets(part) {
			if t.picture.sets[name] == nil { // the part is trusted, and was not read
				if err := t.picture.declaration(name); err != nil {
					return nil, err
				}
			}
			if t.picture.sets[name] != nil {
				out = append(out, request(unix.NFT_MSG_DELSETELEM, 0, slices.Concat(
					attribute(unix.NFTA_SET_ELEM_LIST_TABLE, cString(ruleset.RulesTable)), attribute(unix.NFTA_SET_ELEM_LIST_SET, cString(name)))))
			}
		}
	}
	return out, nil
}

// dropElements takes away the elements of an index, but what is kept.
func (t *transaction) dropElements(index uint32, keep func(ruleset.Set, ruleset.Element) bool) {
	if keep == nil {
		t.departed[index] = true
	}
	for _, s := range t.table.Sets {
		if !s.Own() {
			continue
		}
		for _, e := range s.Elements {
			is := func(o ruleset.Element) bool { return ruleset.SameElement(o, e) }
			if e.ElementOf(index) && (keep == nil || !keep(s, e)) && !slices.ContainsFunc(t.del[s.Name], is) {
				t.del[s.Name] = append(t.del[s.Name], e)
			}
		}
	}
}

// remove takes away what stands of an interface.
func (t *transaction) remove(h Held) {
	if h.old {
		t.tables = append(t.tables, h.Handle)
		return
	}
	delete(t.used, h.Name)
	delete(t.index, h.Name)
	device, _ := ruleset.TableDevice(h.Name)
	for _, d := range []string{"from-vm", "to-vm"} {
		name := ruleset.BaseName(d, device)
		if t.picture.chains[name] != nil {
			t.fresh, t.gone = append(t.fresh, name), append(t.gone, name)
		}
	}
	if index, ok := h.Table.Index(); ok {
		t.leave(index)
	}
}

// leave takes away the elements of an index that an interface has no more, unless they are
// another's now: a device was renamed.
func (t *transaction) leave(index uint32) {
	for _, other := range t.index {
		if other == index {
			return
		}
	}
	t.dropElements(index, nil)
}

// sweepElements takes away the elements of indexes that are no interface's: up to about Linux
// 6.13 a device's base chains go with it, and its elements stay. It reports whether there
// are any. Where somebody changed base chains, so that they name no index, none is sure.
func (t *transaction) sweepElements() (any bool) {
	known := map[uint32]bool{}
	for _, index := range t.index {
		known[index] = true
	}
	for _, s := range t.table.Sets {
		for _, e := range s.Elements {
			is := func(o ruleset.Element) bool { return ruleset.SameElement(o, e) }
			if s.Own() && !known[0] && !known[binary.NativeEndian.Uint32(e.From[0])] && !slices.ContainsFunc(t.del[s.Name], is) {
				t.del[s.Name], any = append(t.del[s.Name], e), true
				t.departed[binary.NativeEndian.Uint32(e.From[0])] = true
			}
		}
	}
	return any
}

// commit commits the transaction, if there is anything to change, and gives whether there was.
func (t *transaction) commit(sweep bool) (bool, error) {
	messages, err := t.messages(sweep)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	return true, t.picture.commit(messages)
}

// messages gives the transaction. With sweep, all of the table was read, and the parts that
// no interface will have any more go with it.
func (t *transaction) messages(sweep bool) ([]netlink.Message, error) {
	var unused ruleset.Part
	swept := false
	if sweep {
		swept = t.sweepElements()
	}
	if err := t.dropFlows(); err != nil {
		return nil, err
	}
	forget, err := t.forget()
	if err != nil {
		return nil, err
	}
	if sweep {
		unused = t.unused()
		for _, c := range unused.Chains {
			delete(t.trusted, ruleset.PartName(c.Name))
		}
		unused.Chains, unused.Sets = append(unused.Chains, t.foreign.chains...), append(unused.Sets, t.foreign.sets...)
		for _, s := range unused.Sets {
			delete(t.del, s.Name) // its elements go with it
		}
	}
	for _, c := range unused.Chains {
		t.fresh, t.gone = append(t.fresh, c.Name), append(t.gone, c.Name)
	}
	if !swept && len(t.stars) == 0 && len(t.made.Chains)+len(t.fresh)+len(t.tables)+len(unused.Sets) == 0 && (!sweep || len(t.picture.objects) == 0) {
		return nil, nil
	}
	t.reasons()
	if t.picture.stands && sweep && len(t.used) == 0 {
		clear(t.trusted)
		out := []netlink.Message{deleteHandle(t.picture.handle)}
		for _, handle := range t.tables {
			out = append(out, deleteHandle(handle))
		}
		return out, nil
	}
	created, added, err := t.compile()
	if err != nil {
		return nil, err
	}
	var out []netlink.Message
	if t.picture.isOldGuard() {
		out = append(out, deleteHandle(t.picture.handle))
	}
	inTable := attribute(unix.NFTA_RULE_TABLE, cString(ruleset.RulesTable))
	for _, c := range t.fresh {
		out = append(out, request(unix.NFT_MSG_DELRULE, 0, slices.Concat(inTable, attribute(unix.NFTA_RULE_CHAIN, cString(c)))))
	}
	for _, s := range unused.Sets { // before the chains, which a map may go to
		out = append(out, request(unix.NFT_MSG_DELSET, 0, slices.Concat(inTable, attribute(unix.NFTA_SET_NAME, cString(s.Name)))))
	}
	for _, c := range t.gone {
		out = append(out, request(unix.NFT_MSG_DELCHAIN, 0, slices.Concat(inTable, attribute(unix.NFTA_CHAIN_NAME, cString(c)))))
	}
	if sweep {
		for _, o := range t.picture.objects {
			out = append(out, request(unix.NFT_MSG_DELOBJ, 0, slices.Concat(
				attribute(unix.NFTA_OBJ_TABLE, cString(ruleset.RulesTable)), attribute(unix.NFTA_OBJ_NAME, cString(o.name)),
				attribute(unix.NFTA_OBJ_TYPE, binary.BigEndian.AppendUint32(nil, o.kind)))))
		}
	}
	for set := range t.stars {
		out = append(out, deleteCatchAll(set))
	}
	for _, handle := range t.tables {
		out = append(out, deleteHandle(handle))
	}
	out = append(out, created...)
	out = append(out, forget...)
	return append(out, added...), nil
}

// unused gives the chains and sets of parts that no interface will have.
func (t *transaction) unused() ruleset.Part {
	used, looked := map[string]bool{}, map[string]bool{}
	for _, part := range t.used {
		used[part] = true
	}
	var out ruleset.Part
	for _, c := range t.table.Chains {
		if part := ruleset.PartName(c.Name); c.Hook == nil && part != "" && !used[part] {
			out.Chains = append(out.Chains, c)
			continue
		}
		if t.foreign.has(c) {
			continue
		}
		for _, r := range c.Rules {
			for s := range r.Sets {
				looked[s] = true
			}
		}
	}
	for _, s := range t.table.Sets {
		if !s.Own() && !looked[s.Name] && !t.foreign.hasSet(s) {
			out.Sets = append(out.Sets, s)
		}
	}
	return out
}

// compile gives the messages that make what is made, and those that change elements.
func (t *transaction) compile() (created, added []netlink.Message, err error) {
	return compileInto(t.made.Ordered(), t.knownSets(), t.del, t.add)
}

// knownSets gives the sets that stand, by their names.
func (t *transaction) knownSets() map[string]ruleset.Set {
	known := map[string]ruleset.Set{}
	for _, s := range t.table.Sets {
		known[s.Name] = s
	}
	return known
}

// compileInto gives the messages that make sets, chains and rules in a table where others
// stand, the table's own first, and those that delete and add elements.
func compileInto(made ruleset.Table, known map[string]ruleset.Set, del, add map[string][]ruleset.Element) (created, changed []netlink.Message, err error) {
	var batch []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		batch = append(batch, req...)
		return nil, nil
	}))
	if err != nil {
		return nil, nil, err
	}
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: made.Name}
	all := map[string]*nftables.Set{}
	for name, s := range known {
		all[name] = &nftables.Set{Table: table, Name: s.Name, KeyByteOrder: binaryutil.BigEndian}
	}
	rules, typeofs, err := addTable(conn, made, all)
	if err != nil {
		return nil, nil, err
	}
	if err := conn.Flush(); err != nil {
		return nil, nil, err
	}
	created = plain(batch)
	if err := setTypeofs(created, typeofs); err != nil {
		return nil, nil, err
	}
	if err := setDevices(created, made.Chains); err != nil {
		return nil, nil, err
	}
	created = append(created, rules...)
	for _, name := range slices.Sorted(maps.Keys(del)) {
		changed = append(changed, elementMessages(unix.NFT_MSG_DELSETELEM, made.Name, name, del[name])...)
	}
	for _, name := range slices.Sorted(maps.Keys(add)) {
		changed = append(changed, elementMessages(unix.NFT_MSG_NEWSETELEM, made.Name, name, add[name])...)
	}
	return created, changed, nil
}

// deleteCatchAll is the message that deletes a set's element *.
func deleteCatchAll(set string) netlink.Message {
	star := attribute(unix.NFTA_SET_ELEM_FLAGS, binary.BigEndian.AppendUint32(nil, elementCatchAll))
	return request(unix.NFT_MSG_DELSETELEM, 0, slices.Concat(
		attribute(unix.NFTA_SET_ELEM_LIST_TABLE, cString(ruleset.RulesTable)), attribute(unix.NFTA_SET_ELEM_LIST_SET, cString(set)),
		attribute(netlink.Nested|unix.NFTA_SET_ELEM_LIST_ELEMENTS, attribute(netlink.Nested|unix.NFTA_LIST_ELEM, star)),
	))
}

// udataElementComment is nft's kind of an element's comment (libnftnl's
// include/libnftnl/udata.h, enum nftnl_udata_set_elem_types).
const udataElementComment userdata.Type = 0

// elementMessages are those that add elements to a set of single values, or delete them, as
// many at a time as one attribute has room for.
func elementMessages(kind int, table, set string, elements []ruleset.Element) []netlink.Message {
	const most = 512
	var out []netlink.Message
	for some := range slices.Chunk(elements, most) {
		var list []byte
		for _, e := range some {
			element := attribute(netlink.Nested|unix.NFTA_SET_ELEM_KEY, attribute(unix.NFTA_DATA_VALUE, join(e.From)))
			if e.Left > 0 {
				element = append(element, attribute(unix.NFTA_SET_ELEM_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(e.Left.Milliseconds())))...)
			}
			if e.Comment != "" {
				element = append(element, attribute(unix.NFTA_SET_ELEM_USERDATA, userdata.AppendString(nil, udataElementComment, e.Comment))...)
			}
			list = append(list, attribute(netlink.Nested|unix.NFTA_LIST_ELEM, element)...)
		}
		flags := netlink.HeaderFlags(0)
		if kind == unix.NFT_MSG_NEWSETELEM {
			flags = netlink.Create
		}
		out = append(out, request(kind, flags, slices.Concat(
			attribute(unix.NFTA_SET_ELEM_LIST_TABLE, cString(table)), attribute(unix.NFTA_SET_ELEM_LIST_SET, cString(set)),
			attribute(netlink.Nested|unix.NFTA_SET_ELEM_LIST_ELEMENTS, list),
		)))
	}
	return out
}
