package judge_test

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// learning is a table whose rules fill a set by replies to the VM, in which there is room
// for so many, and one by requests, with room for one. Frames for groups are left out:
// the kernel delivers those later than others (drivers/net/macvlan.c,
// macvlan_broadcast_enqueue), and the order matters here.
func learning(room int) ruleset.Table {
	set := func(name string, room int, elements ...ruleset.Element) ruleset.Set {
		return ruleset.Set{Name: name, Key: []ruleset.Type{ruleset.TypeInterface, ruleset.TypeEtherAddr}, Dynamic: room, Elements: elements}
	}
	key := [][]byte{make([]byte, 4), {2, 0, 0, 0, 2, 0x4d}}
	seed := ruleset.Element{From: key, To: key}
	learn := func(operation uint16, set string, verdict ruleset.Verdict) ruleset.Rule {
		return ruleset.Rule{
			Matches: []ruleset.Match{ruleset.Is(ruleset.ARPOperation, operation)},
			Updates: []ruleset.Update{{Set: set, Fields: []ruleset.Field{ruleset.InputIndex, ruleset.ARPSenderMAC}}}, Verdict: verdict,
		}
	}
	is := func(index, f ruleset.Field, protocol uint16) ruleset.Rule {
		return ruleset.Rule{
			Matches: []ruleset.Match{ruleset.Is(ruleset.Protocol, protocol), ruleset.Lookup{Fields: []ruleset.Field{index, f}, Set: "nic-routers"}},
			Verdict: ruleset.Accept,
		}
	}
	group := []byte{1, 0, 0, 0, 0, 0}
	return ruleset.Table{
		Name: ruleset.TableName("macvtap0"), Interfaces: map[uint32]string{0: "macvtap0"}, Sets: []ruleset.Set{set("nic-routers", room, seed), set("nic-askers", 1)},
		Chains: []ruleset.Chain{
			{Name: "to-vm", Hook: &ruleset.Hook{Type: ruleset.Ingress, Device: "macvtap0"}, Rules: []ruleset.Rule{
				{Matches: []ruleset.Match{ruleset.Masked{Field: ruleset.EtherDestination, Mask: group, Op: ruleset.Equal, Value: group}}, Verdict: ruleset.Drop},
				learn(2, "nic-routers", ruleset.Verdict{}),
				learn(1, "nic-askers", ruleset.Accept),
				is(ruleset.InputIndex, ruleset.ARPSenderMAC, ruleset.EtherTypeARP),
			}},
			{Name: "from-vm", Hook: &ruleset.Hook{Type: ruleset.Egress, Device: "macvtap0"}, Rules: []ruleset.Rule{
				is(ruleset.OutputIndex, ruleset.EtherDestination, ruleset.EtherTypeIPv4),
			}},
		},
	}
}

// TestJudgeLearnsAsTheKernel has both judge frames that add to sets until these are full,
// and frames that find what was added.
func TestJudgeLearnsAsTheKernel(t *testing.T) {
	n, tap := network(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	made := learning(3)
	create(t, n, made)
	j := judge.New(made)
	maker := attack.NewMaker(rand.New(rand.NewPCG(seed, 3)), vmMAC)
	agree(t, n, tap, j, ruleset.Ingress, maker, frames(t))
	agree(t, n, tap, j, ruleset.Egress, maker, frames(t))
}

// TestLearn judges one frame after the other.
func TestLearn(t *testing.T) {
	arp := func(operation string, from string) string {
		return "525400000001" + "0200000002" + from + "0806" + "0001080006040" + "00" + operation + "0200000002" + from + "c0a80201" + "000000000000" + "c0a80264"
	}
	ip := func(to string) string { return "0200000002" + to + "525400000001" + "0800" + "45" }
	const in, out = ruleset.Ingress, ruleset.Egress
	j := judge.New(learning(2))
	for _, step := range []struct {
		about  string
		hook   ruleset.HookType
		frame  string
		passes bool
		cost   int
	}{
		{"to the seed", out, ip("4d"), true, 8},
		{"to nobody yet", out, ip("01"), false, 7},
		// Of the group 5, the ARP operation 4, the update 3; the other operation 4; the lookup 5 and the verdict.
		{"a reply", in, arp("2", "01"), true, 22},
		{"to who replied", out, ip("01"), true, 8},
		{"a reply again", in, arp("2", "01"), true, 22},
		{"a reply, and no room", in, arp("2", "03"), false, 21},
		{"to who found no room", out, ip("03"), false, 7},
		{"a request", in, arp("1", "03"), true, 17},
	} {
		frame, err := hex.DecodeString(step.frame)
		if err != nil {
			t.Fatalf("%s: %v", step.about, err)
		}
		d, err := j.Frame(step.hook, frame)
		if err != nil || d.Passes != step.passes || d.Cost.Expressions != step.cost {
			t.Errorf("%s: passes %v at %+v, %v; want %v at %d", step.about, d.Passes, d.Cost, err, step.passes, step.cost)
		}
	}
}
