package kernel

import (
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// TestCost bounds what the default policy costs at a VM's start, in counts that do
// not depend on the machine. The kernel takes some 1.6 µs for an expression. Who
// lowers a count lowers its bound; who must raise one says why.
func TestCost(t *testing.T) {
	table := defaultTable(t, 0).Bind(7)
	messages := firstStart(t, table)
	bytes, expressions := 0, 0
	for _, m := range messages {
		bytes += len(m.Data)
		if int(m.Header.Type)&0xff == unix.NFT_MSG_NEWRULE {
			for range attributes(nested(m.Data[headerSize:], unix.NFTA_RULE_EXPRESSIONS)) {
				expressions++
			}
		}
	}
	allocations := int(testing.AllocsPerRun(20, func() {
		firstStart(t, table)
	}))
	for _, cost := range []struct {
		name      string
		got, most int
	}{
		// A third of all is against side doors to denied hosts (the next hop, sources that
		// nobody has, another's DHCP), and for what the VM must hear of its own.
		// A tenth is what makes the rest several interfaces': a chain for each reason to drop,
		// and sets by interface index. What learns addresses is two fifths: 1,498 expressions
		// in 312 messages were enough without. Four see to it that DHCP has no IPv4 options.
		{"expressions", expressions, 2_666},
		{"netlink messages", len(messages), 418},
		{"bytes of messages", bytes, 177_500},
		{"allocations", allocations, 13_340},
	} {
		t.Logf("%s: %d of at most %d", cost.name, cost.got, cost.most)
		if cost.got > cost.most || cost.got == 0 {
			t.Errorf("%d %s, want at most %d", cost.got, cost.name, cost.most)
		}
	}
}

// firstStart gives the messages that program an interface where nothing stands.
func firstStart(t *testing.T, should ruleset.Table) []netlink.Message {
	t.Helper()
	nothing := newTransaction(&picture{name: ruleset.RulesTable}, nil, digests{})
	nothing.want(should, false)
	messages, err := nothing.messages(false)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// TestCostOfHosts holds what 10,000 allowed hosts cost beside their elements: nothing.
func TestCostOfHosts(t *testing.T) {
	count := func(hosts int) (rules, others int) {
		messages := firstStart(t, defaultTable(t, hosts))
		for _, m := range messages {
			switch int(m.Header.Type) & 0xff {
			case unix.NFT_MSG_NEWRULE:
				rules++
			case unix.NFT_MSG_NEWSETELEM:
			default:
				others++
			}
		}
		return rules, others
	}
	rules, others := count(0)
	if r, o := count(10_000); r != rules || o != others {
		t.Errorf("with 10,000 hosts %d rules and %d other messages, without %d and %d", r, o, rules, others)
	}
}

// A set that rules fill is declared without the size that the kernel gives it anyway: with it, each takes 1 MiB at once.
func TestSetsThatRulesFillGrow(t *testing.T) {
	for _, c := range []struct{ room, declared int }{{defaultDynamic, 0}, {64, 64}} {
		s := ruleset.DropSet("from-vm-vlan")
		s.Dynamic = c.room
		set, _, err := compileSet(&nftables.Table{}, s)
		if err != nil {
			t.Fatal(err)
		}
		if !set.Dynamic || int(set.Size) != c.declared {
			t.Errorf("a set for %d elements: dynamic %t, declared for %d, want %d", c.room, set.Dynamic, set.Size, c.declared)
		}
	}
	if got := ruleset.DropSet("from-vm-vlan").Dynamic; got != defaultDynamic {
		t.Errorf("the set of drops has room for %d elements: the kernel makes a table of that many at once", got)
	}
}
