package kernel_test

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// partNames lists the policies' parts that stand in the one table.
func partNames(t *testing.T, ns *lab.Namespace) []string {
	t.Helper()
	var out []string
	for _, found := range regexp.MustCompile(`(?m)^\tchain (\S+)-from-vm-other `).FindAllStringSubmatch(listing(t, ns), -1) {
		out = append(out, found[1])
	}
	slices.Sort(out)
	return out
}

func partsAre(t *testing.T, ns *lab.Namespace, about string, want ...string) {
	t.Helper()
	if got := partNames(t, ns); !slices.Equal(got, want) {
		t.Errorf("%s: the parts %q stand, want %q", about, got, want)
	}
}

// areRight holds what stands against what should.
func areRight(t *testing.T, ns *lab.Namespace, should ...ruleset.Table) {
	t.Helper()
	held := map[string]ruleset.Table{}
	for _, h := range read(t, ns) {
		held[h.Name] = h.Table
	}
	if len(held) != len(should) {
		t.Errorf("%d interfaces have rules, want %d", len(held), len(should))
	}
	for _, s := range should {
		as := held[s.Name]
		as.CheckOffload = s.CheckOffload
		if diff := ruleset.Diff("should", s, "stands", as); diff != "" {
			t.Errorf("%s:\n%s", s.Name, diff)
		}
	}
}

// TestSplitTakesMergeApart merges the rules of each story's interfaces, and takes them apart.
func TestSplitTakesMergeApart(t *testing.T) {
	for name, made := range stories(t) {
		var views []ruleset.Table
		for i, m := range made {
			if m.Name != ruleset.GuardTable {
				views = append(views, m.Bind(10+i))
			}
		}
		merged := ruleset.Merge(views)
		if err := merged.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		split := ruleset.Split(merged)
		if len(split) != len(views) {
			t.Errorf("%s: %d of %d interfaces", name, len(split), len(views))
			continue
		}
		for i, v := range views {
			as := split[i]
			as.CheckOffload = v.CheckOffload
			if diff := ruleset.Diff("merged", v, "split", as); diff != "" {
				t.Errorf("%s: %s:\n%s", name, v.Name, diff)
			}
		}
	}
}

// with is a policy by its name, for all VMs.
func with(name, keys string) string {
	return fmt.Sprintf("[policy.%s]\n%s\n[[vm]]\nname = \"*\"\npolicy = %[1]q\n", name, keys)
}

// elsewhere gives the rules of the default policy with another parent's facts.
func elsewhere(t *testing.T, uuid, device string) []ruleset.Table {
	t.Helper()
	there := lan
	there.Parent = "enp99s0"
	there.Gateway = []netip.Addr{netip.MustParseAddr("192.168.2.254"), netip.MustParseAddr("fe80::1")}
	d := vm(uuid, device)
	d.Direct[0].Parent = there.Parent
	return tablesBy(t, d, "", there)
}

// TestPolicyStandsOnce counts the parts that stand while VMs come, change and go.
func TestPolicyStandsOnce(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0", "macvtap1", "macvtap2", "macvtap3")
	first := boundIn(t, ns, tables(t, vm(vmUUID, "macvtap0"), ""))[0]
	second := boundIn(t, ns, tables(t, vm(otherUUID, "macvtap1"), ""))[0]
	create(t, ns, []ruleset.Table{first})
	create(t, ns, []ruleset.Table{second})
	partsAre(t, ns, "two VMs of one policy", "default")

	far := boundIn(t, ns, elsewhere(t, otherUUID, "macvtap2"))[0]
	create(t, ns, []ruleset.Table{far})
	partsAre(t, ns, "the same policy with another parent's facts", "default", "default-enp99s0")

	wider := boundIn(t, ns, tables(t, vm(otherUUID, "macvtap3"), "[policy.default]\nallow = [\"gateway\", \"192.168.2.9\"]"))[0]
	create(t, ns, []ruleset.Table{wider})
	partsAre(t, ns, "other content under the name", "default", "default-enp88s0", "default-enp99s0")
	areRight(t, ns, first, second, far, wider)

	remove(t, ns, func(s kernel.Standing) bool { return s.Name == far.Name })
	partsAre(t, ns, "what no NIC uses", "default", "default-enp88s0")
	remove(t, ns, func(s kernel.Standing) bool { return s.Name == first.Name })
	partsAre(t, ns, "what another NIC uses still", "default", "default-enp88s0")
	areRight(t, ns, second, wider)
	before := handles(t, ns)[wider.Name]
	moved := boundIn(t, ns, tables(t, vm(otherUUID, "macvtap1"), "[policy.default]\nallow = [\"gateway\", \"192.168.2.9\"]"))[0]
	reconcile(t, ns, moved)
	partsAre(t, ns, "a NIC moves to what stands", "default-enp88s0")
	if handles(t, ns)[wider.Name] != before {
		t.Error("another VM's rules were programmed again")
	}
	remove(t, ns, func(kernel.Standing) bool { return true })
	if now := nft(t, ns, "", "list", "tables"); now != "" {
		t.Errorf("without NICs there stand\n%s", now)
	}
}

// TestSpoiledPartIsNotUsed changes a policy's part that VMs run on: the next VM's start does
// not use it, and does not change what the others run on; settling all mends all.
func TestSpoiledPartIsNotUsed(t *testing.T) {
	for about, script := range map[string]string{
		"a rule less":                        "flush chain netdev macvtap-filter default-from-vm-arp",
		"a rule more":                        "insert rule netdev macvtap-filter default-from-vm-ipv4 accept",
		"an element more":                    "delete element netdev macvtap-filter default-allow-ipv4 { 192.168.2.53 }\nadd element netdev macvtap-filter default-allow-ipv4 { 192.168.2.77 }",
		"an address that is allowed no more": "delete element netdev macvtap-filter default-allow-ipv4 { 192.168.2.53 }",
		"a reason that lets pass":            "flush chain netdev macvtap-filter drop-from-vm-denied-ipv4\nadd rule netdev macvtap-filter drop-from-vm-denied-ipv4 accept",
	} {
		t.Run(about, func(t *testing.T) {
			n, tap := network(t)
			ns := n.Hypervisor
			second := addTap(t, n, "macvtap1", otherMAC)
			one := boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), notLearned))[0]
			other := vm(otherUUID, second.Name)
			other.Direct[0].MAC = otherMAC
			two := boundIn(t, ns, tables(t, other, notLearned))[0]
			create(t, ns, []ruleset.Table{one})
			nft(t, ns, script+"\n", "-f", "-")
			create(t, ns, []ruleset.Table{two})
			for _, h := range read(t, ns, two.Name) {
				if diff := ruleset.Diff("should", two, "stands", h.Table); diff != "" {
					t.Errorf("the new VM runs on\n%s", diff)
				}
			}
			filters(t, n, second)
			reconcile(t, ns, one, two)
			areRight(t, ns, one, two)
			filters(t, n, tap)
			filters(t, n, second)
			// Where the spoiled chain was not the part's own, both are right again.
			if parts := partNames(t, ns); len(parts) != 1 && !strings.Contains(script, " drop-") {
				t.Errorf("the parts %q stand, want one", parts)
			}
		})
	}
}

// ownElements lists what stands of an interface in the set of MAC addresses.
func ownElements(t *testing.T, ns *lab.Namespace, device string) []string {
	t.Helper()
	var out []string
	listed := nft(t, ns, "", "list", "set", "netdev", ruleset.RulesTable, "nic-mac")
	for _, found := range regexp.MustCompile(`"`+device+`" \. ([0-9a-f:]+)`).FindAllStringSubmatch(listed, -1) {
		out = append(out, found[1])
	}
	slices.Sort(out)
	return out
}

// TestIndexUsedAgain starts a VM on a device whose interface index a dead VM's elements
// still have: up to about Linux 6.13 the base chains went with the device alone.
func TestIndexUsedAgain(t *testing.T) {
	for about, policy := range map[string]string{"the same policy": "", "one that looks into fewer sets": "[policy.default]\nspoofing = \"pass\""} {
		t.Run(about, func(t *testing.T) { indexUsedAgain(t, policy) })
	}
}

func indexUsedAgain(t *testing.T, policy string) {
	n, tap := network(t)
	ns := n.Hypervisor
	dead := vm(otherUUID, tap.Name)
	dead.Direct[0].MAC = otherMAC
	create(t, ns, tables(t, dead, policy))
	nft(t, ns, "add element netdev macvtap-filter nic-routers-ipv4 { \"macvtap0\" . "+strangerMAC.String()+" }\n", "-f", "-")
	for _, chain := range []string{"from-vm-macvtap0", "to-vm-macvtap0"} {
		nft(t, ns, "", "flush", "chain", "netdev", ruleset.RulesTable, chain)
		nft(t, ns, "", "delete", "chain", "netdev", ruleset.RulesTable, chain)
	}
	if got := ownElements(t, ns, tap.Name); !slices.Equal(got, []string{otherMAC.String()}) {
		t.Fatalf("%q are left of the dead VM", got)
	}
	create(t, ns, tables(t, vm(vmUUID, tap.Name), ""))
	if got := ownElements(t, ns, tap.Name); !slices.Equal(got, []string{vmMAC.String()}) {
		t.Errorf("the new VM has %q, want its own alone", got)
	}
	crosses(t, n, tap, out, sample{"by the dead VM's router", to(out.udp(t, "192.0.2.1", 53), strangerMAC), false})
	areRight(t, ns, boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), ""))...)
}

// TestForeignRules has others' chains, sets and maps in the table, on which rules of one VM
// hold: what stands of another goes all the same when it stops, and its rules are made anew.
func TestForeignRules(t *testing.T) {
	for about, script := range map[string]string{
		"a chain that a rule jumps to":     "add chain T foreign\ninsert rule T from-vm-macvtap1 jump foreign",
		"a set that a rule looks into":     "add set T foreign { type ipv4_addr; }\ninsert rule T from-vm-macvtap1 ip daddr @foreign accept",
		"a counter":                        "add counter T foreign\ninsert rule T from-vm-macvtap1 counter name \"foreign\"",
		"a map of chains that nobody uses": "add chain T foreign\nadd map T m { type ipv4_addr : verdict; }\nadd element T m { 1.1.1.1 : jump foreign }",
		"a set of interfaces":              "add set T foreign { type iface_index . ether_addr; elements = { \"lo\" . 02:00:00:00:00:09 }; }",
		"a chain named as a policy's":      "add chain T web-from-vm-ipv4\ninsert rule T from-vm-macvtap1 jump web-from-vm-ipv4",
	} {
		t.Run(about, func(t *testing.T) {
			ns := namespace(t)
			addDevices(t, ns, "macvtap0", "macvtap1")
			made := boundIn(t, ns, slices.Concat(tables(t, vm(vmUUID, "macvtap0"), ""), tables(t, vm(otherUUID, "macvtap1"), "")))
			create(t, ns, made)
			nft(t, ns, strings.ReplaceAll(script, " T ", " netdev "+ruleset.RulesTable+" ")+"\n", "-f", "-")
			remove(t, ns, owned(vmUUID))
			if got := ownElements(t, ns, "macvtap0"); len(got) > 0 {
				t.Errorf("of the VM that stopped %q stand", got)
			}
			create(t, ns, made[:1])
			reconcile(t, ns, made...)
			areRight(t, ns, made...)
		})
	}
}

// TestCatchAll has somebody put the element * into sets of all interfaces: what is in one would
// hold for each. Who looks sees it, and whoever starts or is made anew takes it away.
func TestCatchAll(t *testing.T) {
	for _, set := range []string{"nic-routers-ipv4", "nic-mac"} {
		n, tap := network(t)
		ns := n.Hypervisor
		second := addTap(t, n, "macvtap1", otherMAC)
		one := boundIn(t, ns, tables(t, vm(vmUUID, tap.Name), ""))
		other := vm(otherUUID, second.Name)
		other.Direct[0].MAC = otherMAC
		two := boundIn(t, ns, tables(t, other, ""))
		create(t, ns, one)
		for about, mends := range map[string]func(){
			"a start":      func() { create(t, ns, two) },
			"a new making": func() { reconcile(t, ns, one...) },
		} {
			nft(t, ns, "add element netdev macvtap-filter "+set+" { * }\n", "-f", "-")
			for _, h := range read(t, ns, one[0].Name) {
				if ruleset.Stands(one[0], h.Table) {
					t.Errorf("%s: nobody sees the element *", set)
				}
			}
			mends()
			if listed := nft(t, ns, "", "list", "set", "netdev", ruleset.RulesTable, set); strings.Contains(listed, "*") {
				t.Errorf("after %s:\n%s", about, listed)
			}
			remove(t, ns, owned(otherUUID))
			areRight(t, ns, one...)
		}
	}
}

// TestAnothersSets has somebody's sets under the names of ours: a start says so, and what
// becomes of it.
func TestAnothersSets(t *testing.T) {
	for _, script := range []string{
		"add set T nic-mac { type iface_index . ether_addr; flags timeout; timeout 1s; }",
		"add set T nic-routers-ipv4 { type iface_index . ether_addr; size 2; flags dynamic; }",
		"add set T nic-mac { type ether_addr; }",
	} {
		n, tap := network(t)
		nft(t, n.Hypervisor, strings.ReplaceAll("add table netdev macvtap-filter\n"+script+"\n", " T ", " netdev macvtap-filter "), "-f", "-")
		err := within(t, n.Hypervisor, func(ctx context.Context) error {
			return kernel.Create(ctx, tables(t, vm(vmUUID, tap.Name), ""))
		})
		if err == nil || !strings.Contains(err.Error(), "is somebody's") || !strings.Contains(err.Error(), "apply --all") {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// TestSwappedNames has two devices take each other's name: the rules that have a name are the
// other device's, and hold its frames back until its own come.
func TestSwappedNames(t *testing.T) {
	ns := namespace(t)
	addDevices(t, ns, "macvtap0", "macvtap1")
	create(t, ns, slices.Concat(tables(t, vm(vmUUID, "macvtap0"), ""), tables(t, vm(otherUUID, "macvtap1"), "")))
	foreign := func() (found []bool) {
		held := read(t, ns)
		if err := ns.Do(func() error {
			for _, h := range held {
				found = append(found, h.Foreign())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := foreign(); !slices.Equal(got, []bool{false, false}) {
		t.Errorf("rules of other devices: %v", got)
	}
	for _, names := range [][2]string{{"macvtap0", "between"}, {"macvtap1", "macvtap0"}, {"between", "macvtap1"}} {
		link, err := ns.Links().LinkByName(names[0])
		if err == nil {
			err = ns.Links().LinkSetName(link, names[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := foreign(); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("rules of other devices after they swapped their names: %v", got)
	}
}

// TestTwoNICs has a VM with two NICs of one policy, with one MAC address and with two: each
// is its own, and stays when the other goes.
func TestTwoNICs(t *testing.T) {
	for _, mac := range []string{vmMAC.String(), otherMAC.String()} {
		ns := namespace(t)
		addDevices(t, ns, "macvtap0", "macvtap1")
		d := vm(vmUUID, "macvtap0", "macvtap1")
		if mac != vmMAC.String() {
			d.Direct[1].MAC = otherMAC
		}
		made := boundIn(t, ns, tables(t, d, ""))
		create(t, ns, made)
		partsAre(t, ns, "two NICs", "default")
		areRight(t, ns, made...)
		replace(t, ns, made[:1], func(s kernel.Standing) bool { return s.Name == made[1].Name })
		areRight(t, ns, made[0])
		if got := ownElements(t, ns, "macvtap0"); !slices.Equal(got, []string{vmMAC.String()}) {
			t.Errorf("the first NIC has %q", got)
		}
		create(t, ns, made[1:])
		areRight(t, ns, made...)
		remove(t, ns, func(s kernel.Standing) bool { return s.Name == made[0].Name })
		areRight(t, ns, made[1])
		if got := ownElements(t, ns, "macvtap1"); !slices.Equal(got, []string{mac}) {
			t.Errorf("the second NIC has %q, want %s", got, mac)
		}
	}
}

// TestSamePolicyAtOnce starts VMs of a new policy at once: it stands once.
func TestSamePolicyAtOnce(t *testing.T) {
	const vms = 12
	ns := namespace(t)
	devices := manyDevices(t, ns, vms)
	var all []ruleset.Table
	for i := range vms {
		all = append(all, boundIn(t, ns, tables(t, vm(fmt.Sprintf("00000000-0000-0000-0000-%012d", i), devices[i]), with("web", "deny = [\"private\"]")))...)
	}
	var group sync.WaitGroup
	for _, table := range all {
		group.Go(func() {
			if err := within(t, ns, func(ctx context.Context) error { return kernel.Create(ctx, []ruleset.Table{table}) }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	partsAre(t, ns, "all at once", "web")
	areRight(t, ns, all...)
}

// TestManyPolicies has a NIC for each of many policies.
func TestManyPolicies(t *testing.T) {
	const policies = 100
	ns := namespace(t)
	var all []ruleset.Table
	for i := range policies {
		device := fmt.Sprintf("macvtap%d", i)
		addDevices(t, ns, device)
		policy := with(fmt.Sprintf("p%d", i), fmt.Sprintf("allow = [\"gateway\", \"192.168.2.%d\"]", 100+i))
		made := boundIn(t, ns, tables(t, vm(fmt.Sprintf("00000000-0000-0000-0000-%012d", i), device), policy))
		create(t, ns, made)
		all = append(all, made...)
	}
	areRight(t, ns, all...)
	if got := len(partNames(t, ns)); got != policies {
		t.Errorf("%d parts stand, want %d", got, policies)
	}
	remove(t, ns, func(s kernel.Standing) bool { return !strings.HasSuffix(s.Name, "0") })
	if got := len(partNames(t, ns)); got != policies/10 {
		t.Errorf("%d parts stand after most NICs went, want %d", got, policies/10)
	}
}

// of gives rules that nobody bound as another device's of the same VM.
func of(t ruleset.Table, device string) ruleset.Table {
	t.Name, t.Interfaces = ruleset.TableName(device), map[uint32]string{0: device}
	t.Chains = slices.Clone(t.Chains)
	for i, c := range t.Chains {
		if c.Hook != nil {
			hook := *c.Hook
			hook.Device = device
			t.Chains[i].Hook = &hook
		}
	}
	return t
}

// TestLongPolicyOfManyNICs changes a policy of 10,000 entries that 200 NICs use: for all of
// them in one transaction, and it stands once.
func TestLongPolicyOfManyNICs(t *testing.T) {
	const nics = 200
	ns := namespace(t)
	devices := manyDevices(t, ns, nics)
	policy := func(hosts int) string {
		var entries strings.Builder
		for i := range hosts {
			fmt.Fprintf(&entries, "\"192.168.%d.%d\",", 100+i/250, 1+i%250)
		}
		return with("long", "allow = ["+entries.String()+"]")
	}
	made := func(hosts int) (all []ruleset.Table) {
		one := tables(t, vm(vmUUID, devices[0]), policy(hosts))[0]
		for _, device := range devices {
			all = append(all, of(one, device))
		}
		return all
	}
	create(t, ns, made(10_000))
	partsAre(t, ns, "at first", "long")
	generation := func() (now uint64) {
		err := within(t, ns, func(ctx context.Context) (err error) {
			now, err = kernel.Generation(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	before := generation()
	should := boundIn(t, ns, made(10_001))
	reconcile(t, ns, should...)
	// The new policy stands before, and the old one goes after.
	if got := generation() - before; got != 3 {
		t.Errorf("%d transactions, want one between two", got)
	}
	partsAre(t, ns, "changed", "long-"+lan.Parent)
	areRight(t, ns, should...)
}

// TestStartWhosePolicyStands counts what a start sends whose policy stands already.
func TestStartWhosePolicyStands(t *testing.T) {
	const most = 20
	ns := namespace(t)
	addDevices(t, ns, "macvtap0", "macvtap1")
	create(t, ns, tables(t, vm(vmUUID, "macvtap0"), ""))
	var messages int
	err := within(t, ns, func(ctx context.Context) (err error) {
		messages, err = kernel.StartMessages(ctx, tables(t, vm(otherUUID, "macvtap1"), ""))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("netlink messages of a start whose policy stands: %d of at most %d", messages, most)
	if messages > most || messages == 0 {
		t.Errorf("%d netlink messages of a start whose policy stands, want at most %d", messages, most)
	}
}

// TestSweptElements has a device's base chains go without its elements, as they do with the
// device up to about Linux 6.13: the next change takes these away.
func TestSweptElements(t *testing.T) {
	n, tap := network(t)
	addTap(t, n, "macvtap1", otherMAC)
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	create(t, n.Hypervisor, tables(t, vm(otherUUID, "macvtap1"), ""))
	for _, direction := range []string{"from-vm", "to-vm"} {
		nft(t, n.Hypervisor, "", "delete", "chain", "netdev", ruleset.RulesTable, ruleset.BaseName(direction, tap.Name))
	}
	elements := func() int {
		return strings.Count(nft(t, n.Hypervisor, "", "list", "set", "netdev", ruleset.RulesTable, "nic-mac"), "52:54:")
	}
	if got := elements(); got != 2 {
		t.Fatalf("%d MAC addresses, want 2 before anything changes", got)
	}
	if removed := remove(t, n.Hypervisor, owned("nobody")); len(removed) > 0 {
		t.Errorf("removed %v", removed)
	}
	if got := elements(); got != 1 {
		t.Errorf("%d MAC addresses, want the one of the interface that has rules", got)
	}
}
