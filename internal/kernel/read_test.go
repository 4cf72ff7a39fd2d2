package kernel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// read reads tables back, in the order of their names.
func read(t testing.TB, ns *lab.Namespace, names ...string) []kernel.Held {
	t.Helper()
	var held []kernel.Held
	err := within(t, ns, func(ctx context.Context) (err error) {
		held, err = kernel.Read(ctx, names...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(held, func(a, b kernel.Held) int { return cmp.Compare(a.Name, b.Name) })
	return held
}

// normal gives tables as Read does.
func normal(made []ruleset.Table) []ruleset.Table {
	made = slices.Clone(made)
	slices.SortFunc(made, func(a, b ruleset.Table) int { return cmp.Compare(a.Name, b.Name) })
	for i := range made {
		made[i].Chains = slices.Clone(made[i].Chains)
		for j, c := range made[i].Chains {
			rules := make([]ruleset.Rule, len(c.Rules))
			for k, r := range c.Rules {
				rules[k] = r.Normal()
			}
			made[i].Chains[j].Rules = rules
		}
	}
	return made
}

// arranged gives tables with all parts in the order of their names: how what is several
// interfaces' stands in the kernel, TestTextIsWhatIsProgrammed holds.
func arranged(all []ruleset.Table) []ruleset.Table {
	all = slices.Clone(all)
	for i, t := range all {
		t.Sets, t.Chains, t.Counters = slices.Clone(t.Sets), slices.Clone(t.Chains), slices.Clone(t.Counters)
		slices.SortFunc(t.Sets, func(a, b ruleset.Set) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Chains, func(a, b ruleset.Chain) int { return cmp.Compare(a.Name, b.Name) })
		slices.Sort(t.Counters)
		all[i] = t
	}
	return all
}

// readBack holds what Read gives of a namespace against the tables made there.
func readBack(t *testing.T, ns *lab.Namespace, made []ruleset.Table) {
	t.Helper()
	var stands []ruleset.Table
	for _, h := range read(t, ns) {
		stands = append(stands, h.Table)
		if h.Comment != h.Table.Comment || h.Handle == 0 {
			t.Errorf("%+v of a table with the comment %q", h.Standing, h.Table.Comment)
		}
		if err := h.Table.Validate(); err != nil {
			t.Error(err)
		}
	}
	if diff := gocmp.Diff(ruleset.Text(arranged(normal(made))), ruleset.Text(arranged(stands))); diff != "" {
		t.Fatalf("read back (-made +read):\n%s", diff)
	}
	made = boundIn(t, ns, made)
	byName := map[string]ruleset.Table{}
	for _, table := range stands {
		byName[table.Name] = table
	}
	for _, m := range made {
		if diff := ruleset.Diff("made", m, "read", byName[m.Name]); diff != "" {
			t.Errorf("%s: the text is the same, the table is not:\n%s", m.Name, diff)
		}
	}
}

// readBackTwoWays reads tables back that we program, and that nft loads from our
// text.
func readBackTwoWays(t *testing.T, made []ruleset.Table) {
	t.Helper()
	programmed, loaded := namespace(t), namespace(t)
	addDevices(t, programmed, devices(made)...)
	create(t, programmed, made)
	readBack(t, programmed, made)
	addDevices(t, loaded, devices(made)...)
	nft(t, loaded, ruleset.Text(made), "-f", "-")
	made = slices.Clone(made)
	for i := range made {
		made[i].CheckOffload = false // which nft has no words for
	}
	readBack(t, loaded, made)
}

func TestReadBack(t *testing.T) {
	for name, made := range stories(t) {
		t.Run(name, func(t *testing.T) { readBackTwoWays(t, made) })
	}
}

// TestReadEveryMatch reads a table with every kind of match, which is no interface's.
func TestReadEveryMatch(t *testing.T) {
	made := everyMatch()
	programmed, loaded := namespace(t), namespace(t)
	for _, ns := range []*lab.Namespace{programmed, loaded} {
		addDevices(t, ns, devices([]ruleset.Table{made})...)
	}
	createPlain(t, programmed, made)
	nft(t, loaded, made.String(), "-f", "-")
	for _, ns := range []*lab.Namespace{programmed, loaded} {
		stands := readPlain(t, ns, made.Name)
		if diff := gocmp.Diff(normal([]ruleset.Table{made})[0].String(), stands.String()); diff != "" {
			t.Errorf("read back (-made +read):\n%s", diff)
		}
		if diff := ruleset.Diff("made", made, "read", stands); diff != "" {
			t.Errorf("the text is the same, the table is not:\n%s", diff)
		}
	}
}

// TestReadBackPolicies reads the tables of generated policies.
func TestReadBackPolicies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		policy := randomPolicy(r)
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Log(policy)
			readBackTwoWays(t, tables(t, vm(vmUUID, "macvtap0"), policy))
		})
	}
}

// randomPolicy makes a policy with any of the keys, and lists that overlap and lie
// beside each other.
func randomPolicy(r *rand.Rand) string {
	var b strings.Builder
	some := func(line string, args ...any) {
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, line+"\n", args...)
		}
	}
	list := func(n int, ported bool) string {
		entries := []string{`"gateway"`}
		for range r.IntN(n) {
			entries = append(entries, randomEntry(r, ported))
		}
		return strings.Join(entries, ", ")
	}
	b.WriteString("[policy.default]\n")
	some("deny = [%s]", list(30, false))
	some("allow = [%s]", list(12, true))
	some(`serve = ["tcp/443", "udp/%d-%d"]`, 100+r.IntN(9), 110+r.IntN(9))
	some(`ethertypes = ["lldp", "0x88b5"]`)
	some("isolate = true\ngateway_macs = [\"02:00:00:00:02:01\", \"02:00:00:00:02:0%d\"]", 1+r.IntN(5))
	for _, key := range []string{"spoofing", "neighbours", "routers", "multicast", "tunnels"} {
		some("%s = \"pass\"", key)
	}
	some(`dhcp = "server"`)
	some(`ipv6 = "drop"`)
	some("log = true")
	some("[[vm]]\nname = \"web-1\"\naddresses = [\"192.168.2.%d\", \"192.168.2.101\", \"2001:db8:2::%x\"]", 2+r.IntN(90), r.IntN(100))
	return b.String()
}

func randomEntry(r *rand.Rand, ported bool) string {
	from := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(r.IntN(250))})
	if r.IntN(2) == 0 {
		from = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(r.IntN(3)), 15: byte(r.IntN(250))})
	}
	text := from.String()
	switch r.IntN(3) {
	case 0:
		text = netip.PrefixFrom(from, 1+r.IntN(from.BitLen())).Masked().String()
	case 1:
		to := from
		for range r.IntN(6) {
			to = to.Next()
		}
		text += "-" + to.String()
	}
	if ported && r.IntN(2) == 0 {
		text += fmt.Sprintf(" %s/%d", []string{"tcp", "udp"}[r.IntN(2)], 1+r.IntN(9))
		text += fmt.Sprintf(" udp/%d-%d", 20+r.IntN(9), 30+r.IntN(9))
	}
	return fmt.Sprintf("%q", text)
}

// TestReadNames reads some of many tables, and none of another's.
func TestReadNames(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0", "macvtap1", "macvtap2")
	create(t, ns, tables(t, vm(vmUUID, "macvtap0", "macvtap1", "macvtap2"), ""))
	nft(t, ns, "add table netdev macvtap-filtered\nadd table ip macvtap-filter-ip\nadd table netdev foreign\n", "-f", "-")
	names := func(held []kernel.Held) string {
		var all []string
		for _, h := range held {
			all = append(all, h.Name)
		}
		return join(all)
	}
	for _, test := range []struct {
		ask  []string
		want string
	}{
		{nil, "macvtap-filter-macvtap0 macvtap-filter-macvtap1 macvtap-filter-macvtap2"},
		{[]string{"macvtap-filter-macvtap1"}, "macvtap-filter-macvtap1"},
		{[]string{"macvtap-filter-macvtap2", "gone", "macvtap-filter-macvtap0", "macvtap-filter-macvtap2"}, "macvtap-filter-macvtap0 macvtap-filter-macvtap2"},
		{[]string{"macvtap-filter-ip"}, ""},
		{[]string{"foreign"}, ""},
	} {
		if got := names(read(t, ns, test.ask...)); got != test.want {
			t.Errorf("%q: read %q, want %q", test.ask, got, test.want)
		}
	}
}

// TestCounts reads what a named counter counted.
func TestCounts(t *testing.T) {
	n, tap := network(t)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	const name = "from-vm-denied-ipv4"
	if got := read(t, n.Hypervisor)[0].Counts; got[name] != (kernel.Count{}) || len(got) < 20 {
		t.Fatalf("before the frames: %v", got)
	}
	frame := out.udp(t, "192.168.2.77", 53)
	for range 3 {
		crosses(t, n, tap, out, sample{"denied", frame, false})
	}
	if got, want := read(t, n.Hypervisor)[0].Counts[name], (kernel.Count{Packets: 3, Bytes: 3 * uint64(len(frame))}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// drifts are changes that somebody makes by nft, and what the difference says of
// each. T is the table, B the base chain for frames to the VM.
var drifts = []struct {
	name, script string
	want         []string // lines of the difference
}{
	{"a rule that accepts", `insert rule T default-to-vm-ipv4 ip saddr 192.168.2.77 accept`, []string{"+\t\tip saddr 192.168.2.77 accept"}},
	{"a rule with an unknown field", `insert rule T to-vm-macvtap0 ip id 64 accept`, []string{"+\t\tmeta protocol ip @nh,32,16 0x0040 accept"}},
	{"a rule that only nft understands", `insert rule T from-vm-macvtap0 meta mark 5 counter accept`, []string{"+\t\t# unknown: meta mark 0x00000005 [counter] accept"}},
	{"another set statement", `add rule T default-from-vm-arp meta priority set 7`, []string{"+\t\t# unknown: [meta 2=00000002 3=00000001] ["}},
	{"a mark", `insert rule T default-from-vm-arp meta mark set 7`, []string{"+\t\tmeta mark set 0x00000007"}},
	{"a jump", "add chain T extra\ninsert rule T from-vm-macvtap0 jump extra comment \"detour\"", []string{"+\t\t# unknown: jump extra comment \"detour\"", "+\t# unknown: chain extra, which is somebody's"}},
	{"a rate over the limit", `insert rule T from-vm-macvtap0 limit rate over 10/second accept`, []string{"+\t\t# unknown: [limit"}},
	{"a counter before its match", "add counter T mine\ninsert rule T from-vm-macvtap0 counter name mine ether type 0x88cc accept", []string{"+\t\t# unknown: "}},
	{"a flushed chain", `flush chain T default-from-vm-arp`, []string{"-\t\tmeta oif . arp saddr ether != @nic-mac"}},
	{"a flushed base chain", `flush chain T B`, []string{"-\t\tgoto default-to-vm-other"}},
	{"a reason that does not drop", "flush chain T drop-from-vm-vlan\nadd rule T drop-from-vm-vlan accept", []string{"+\t\tether type 8021q goto default-drop-from-vm-vlan"}},
	{"a foreign chain", `add chain T mine { type filter hook ingress device "macvtap0" priority -5; policy accept; }`, []string{"+\t# unknown: chain mine, which is somebody's"}},
	{"another policy", `add chain T B { policy accept; }`, []string{`-		type filter hook ingress device "macvtap0" priority filter; policy drop;`, `+		type filter hook ingress device "macvtap0" priority filter; policy accept;`}},
	{"another priority", `flush chain T B; add delete chain T B; add chain T B { type filter hook ingress device "macvtap0" priority 7; policy drop; }`, []string{`-		type filter hook ingress device "macvtap0" priority filter; policy drop;`, `+		type filter hook ingress device "macvtap0" priority 7; policy drop;`}},
	{"another device", `flush chain T B; add delete chain T B; add chain T B { type filter hook ingress device "macvtap1" priority 0; policy drop; }`, []string{`+		type filter hook ingress device "macvtap1" priority filter; policy drop;`}},
	{"one more device", `flush chain T B; add delete chain T B; add chain T B { type filter hook ingress devices = { "macvtap0", "macvtap1" } priority 0; policy drop; }`, []string{`+		# unknown: device "macvtap1", too`}},
	{"another element", `delete element T default-allow-ipv4 { 192.168.2.53 }; add element T default-allow-ipv4 { 192.168.2.77 }`, []string{"-\t\t\t192.168.2.53,", "+\t\t\t192.168.2.77,"}},
	{"an element less", `delete element T default-allow-ipv4 { 192.168.2.53 }`, []string{"-\t\t\t192.168.2.53,"}},
	{"its own address gone", `delete element T nic-mac { "macvtap0" . 52:54:00:00:00:01 }`, []string{"-\t\t\t\"macvtap0\" . 52:54:00:00:00:01,"}},
	{"another's address, too", `add element T nic-mac { "macvtap0" . 52:54:00:00:00:77 }`, []string{"+\t\t\t\"macvtap0\" . 52:54:00:00:00:77,"}},
	{"a further range", `add element T default-wide { 10.0.0.7-10.0.0.9 }`, []string{"+\t\t\t10.0.0.7-10.0.0.9,"}},
	{"a foreign set", `add set T mine { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h } }`, []string{"+\t# unknown: set mine, which is somebody's"}},
	{"a foreign set that rules fill", `add set T mine { type ipv4_addr; size 7; flags dynamic; }`, []string{"+\t# unknown: set mine, which is somebody's"}},
	{"an update", "add set T mine { type ipv4_addr; size 7; flags dynamic; }\ninsert rule T from-vm-macvtap0 update @mine { ip saddr }", []string{"+\t\tupdate @default-mine { ip saddr }"}},
	{"an update for a while", "add set T mine { type ipv4_addr; size 7; flags dynamic,timeout; }\ninsert rule T from-vm-macvtap0 update @mine { ip saddr timeout 5s }", []string{"+\t\tupdate @default-mine { ip saddr timeout 5s }"}},
	{"an addition", "add set T mine { type ipv4_addr; size 7; flags dynamic; }\ninsert rule T from-vm-macvtap0 add @mine { ip saddr }", []string{"+\t\t# unknown: meta protocol ip [dynset 4=00000001 3=0000000"}},
	{"a map", `add map T mine { type ether_addr : verdict; }`, []string{"+\t# unknown: set mine, which is somebody's"}},
	{"a foreign counter", `add counter T mine`, []string{"+\t# unknown: counter mine, which is somebody's"}},
	{"a quota", `add quota T mine { 25 mbytes }`, []string{"+\t# unknown: object mine of type 2"}},
	{"a sleeping table", `add table T { flags dormant; }`, []string{"+\t# unknown: flags dormant: no chain of the table sees a frame"}},
}

// drifted is a table with what the drifts change.
func drifted(t *testing.T) ruleset.Table {
	table := tables(t, vm(vmUUID, "macvtap0"), "")[0]
	table.Sets = append(table.Sets, ruleset.Set{Name: "wide", Key: []ruleset.Type{ruleset.TypeIPv4}, Interval: true, Elements: []ruleset.Element{{
		From: [][]byte{{10, 0, 0, 1}}, To: [][]byte{{10, 0, 0, 4}},
	}}})
	other := &table.Chains[slices.IndexFunc(table.Chains, func(c ruleset.Chain) bool { return c.Name == "from-vm-other" })]
	other.Rules = append(slices.Clone(other.Rules), ruleset.Rule{
		Matches: []ruleset.Match{ruleset.Lookup{Fields: []ruleset.Field{ruleset.IPSource}, Set: "wide"}}, Verdict: ruleset.Drop,
	})
	return table
}

// TestDrift changes programmed rules by nft, sees every change, and has it mended: what
// another interface of other rules has is let alone, unless it was changed, too.
func TestDrift(t *testing.T) {
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			ns := namespace(t)
			addDevices(t, ns, "macvtap0", "macvtap1", "macvtap2")
			table := boundIn(t, ns, []ruleset.Table{drifted(t)})[0]
			other := boundIn(t, ns, tables(t, vm(otherUUID, "macvtap2"), "[policy.default]\nallow = []"))[0]
			create(t, ns, []ruleset.Table{table, other})
			before := handles(t, ns)[other.Name]
			difference := func() (diff string) {
				for _, h := range read(t, ns) {
					if h.Name == table.Name {
						diff = ruleset.Diff("should", table, "stands", h.Table)
					}
				}
				return diff
			}
			if diff := difference(); diff != "" {
				t.Fatalf("before the change:\n%s", diff)
			}
			script := strings.NewReplacer(" T ", " netdev "+ruleset.RulesTable+" ", "; add delete", "\ndelete", "; add", "\nadd").Replace(strings.ReplaceAll(d.script, " B", " to-vm-macvtap0"))
			nft(t, ns, script+"\n", "-f", "-")
			diff := difference()
			for _, line := range d.want {
				if !strings.Contains("\n"+diff, "\n"+line) {
					t.Errorf("no line %q in\n%s", line, diff)
				}
			}
			changed := 0
			for _, line := range strings.Split(diff, "\n") {
				if strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-") {
					changed++
				}
			}
			if most := 2 + len(d.want) + 32; changed > most { // the longest: a chain that learns, and sets that it alone fills
				t.Errorf("%d changed lines, want at most %d:\n%s", changed, most, diff)
			}
			reconcile(t, ns, table, other)
			if diff := difference(); diff != "" {
				t.Errorf("not mended:\n%s", diff)
			}
			if strings.Contains(listing(t, ns), "mine") {
				t.Error("what is somebody's is still in the table")
			}
			shared := strings.Contains(d.script, "T drop-") // by all
			if handles(t, ns)[other.Name] != before && !shared {
				t.Error("another interface's rules were programmed again")
			}
		})
	}
}

// reconcile has rules stand, and no others removed.
func reconcile(t *testing.T, ns *lab.Namespace, made ...ruleset.Table) {
	t.Helper()
	none := func(kernel.Standing) bool { return false }
	if err := within(t, ns, func(ctx context.Context) error { return kernel.Reconcile(ctx, made, none) }); err != nil {
		t.Fatal(err)
	}
}

// TestRuleOrder sees rules that changed places, and one that is gone.
func TestRuleOrder(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0")
	table := boundIn(t, ns, tables(t, vm(vmUUID, "macvtap0"), ""))[0]
	chain := &table.Chains[slices.IndexFunc(table.Chains, func(c ruleset.Chain) bool { return c.Name == "to-vm" })]
	should := slices.Clone(chain.Rules)
	for name, stands := range map[string][]ruleset.Rule{
		"places changed": append([]ruleset.Rule{should[1], should[0]}, should[2:]...),
		"a rule less":    should[:len(should)-1],
		"a rule twice":   append([]ruleset.Rule{should[0]}, should...),
	} {
		chain.Rules = stands
		replace(t, ns, []ruleset.Table{table}, func(kernel.Standing) bool { return false })
		got := read(t, ns)[0].Table
		if !ruleset.Same(table, got) {
			t.Errorf("%s: read back differently:\n%s", name, ruleset.Diff("made", table, "read", got))
		}
		chain.Rules = should
		if ruleset.Same(table, got) || ruleset.Diff("should", table, "stands", got) == "" {
			t.Errorf("%s: not seen", name)
		}
	}
}

// TestDeviceOfAChain takes the chains' device away, renames it, and makes one of
// that name again. The kernel either drops such chains or keeps them unbound;
// never does Read call them bound.
func TestDeviceOfAChain(t *testing.T) {
	table := tables(t, vm(vmUUID, "macvtap0"), "")[0]
	for name, change := range map[string]func(h *netlink.Handle, l netlink.Link) error{
		"deleted": func(h *netlink.Handle, l netlink.Link) error { return h.LinkDel(l) },
		"renamed": func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetName(l, "macvtap7") },
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			addDevices(t, ns, "macvtap0")
			create(t, ns, []ruleset.Table{table})
			link, err := ns.Links().LinkByName("macvtap0")
			if err != nil {
				t.Fatal(err)
			}
			if err := change(ns.Links(), link); err != nil {
				t.Fatal(err)
			}
			var got ruleset.Table
			if standing := read(t, ns); len(standing) > 0 {
				got = standing[0].Table
			}
			for _, c := range got.Chains {
				if c.Hook != nil && c.Hook.Device == "macvtap0" {
					t.Errorf("chain %s is bound to a device that is gone", c.Name)
				}
			}
			if diff := ruleset.Diff("should", table, "stands", got); !strings.Contains(diff, `-		type filter hook egress device "macvtap0"`) {
				t.Errorf("the difference does not name the lost device:\n%s", diff)
			}
		})
	}
}

// TestReadDuringChanges reads while others change tables: what is read is whole.
func TestReadDuringChanges(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0", "macvtap1", "macvtap2")
	made := boundIn(t, ns, tables(t, vm(vmUUID, "macvtap0", "macvtap1"), ""))
	create(t, ns, made)
	// A transaction that the kernel takes its time for.
	var many strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&many, ", \"192.168.%d.%d\"", 100+i/250, 1+i%250)
	}
	other := boundIn(t, ns, tables(t, vm(otherUUID, "macvtap2"), "[policy.default]\nallow = [\"gateway\", \"192.168.2.80 tcp/80\""+many.String()+"]"))
	create(t, ns, other)
	begin := make(chan struct{})
	changed := make(chan error)
	go func() {
		var errs error
		for range begin {
			errs = errors.Join(errs, within(t, ns, func(ctx context.Context) error {
				return kernel.Replace(ctx, other, func(kernel.Standing) bool { return false })
			}))
		}
		changed <- errs
	}()
	for range 12 {
		if t.Failed() {
			break
		}
		begin <- struct{}{} // and the change comes while we read
		for _, h := range read(t, ns) {
			should := other[0]
			for _, m := range made {
				if m.Name == h.Name {
					should = m
				}
			}
			if diff := ruleset.Diff("should", should, "stands", h.Table); diff != "" {
				t.Errorf("half a picture:\n%s", diff)
			}
		}
	}
	close(begin)
	if err := <-changed; err != nil {
		t.Error(err)
	}
}
