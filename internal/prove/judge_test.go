package prove_test

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/prove"
	"macvtap-filter/internal/ruleset"
)

// TestFormulaJudges has the formula and the judge say the same of each frame of the attack
// suite, and of random ones, under each golden policy: the verdict, and the rule that decides;
// with sets that hold nothing yet, and with some that hold what the frames are looked up by.
func TestFormulaJudges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, hook := range []ruleset.HookType{ruleset.Egress, ruleset.Ingress} {
				c := prove.NewCircuit()
				sets := prove.NewSets(c)
				j := prove.Judge(prove.NewFrame(c, hook), s.table, sets)
				r := rand.New(rand.NewPCG(seed, 1))
				for batch := range slices.Chunk(frames(t, r, s.mac, hook), prove.Lanes) {
					sameVerdicts(t, j, sets, batch)
					sameVerdicts(t, j, sets.Lived(r, j, batch), batch)
				}
			}
		})
	}
}

// frames gives those of the attack suite and random ones.
func frames(t *testing.T, r *rand.Rand, mac net.HardwareAddr, hook ruleset.HookType) [][]byte {
	t.Helper()
	way := attack.FromVM
	if hook == ruleset.Ingress {
		way = attack.ToVM
	}
	var out [][]byte
	for _, list := range []func(attack.Site) ([]attack.Case, error){attack.Attacks, attack.Ordinary, attack.Misdelivered, attack.InAnothersName} {
		all, err := list(site(mac))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Way == way && len(c.Requests) == 0 {
				out = append(out, c.Frames...)
			}
		}
	}
	maker := attack.NewMaker(r, mac)
	for range number(t, "MACVTAP_FILTER_FRAMES", 640) {
		out = append(out, maker.Frame(hook))
	}
	return out
}

func site(vm net.HardwareAddr) attack.Site {
	link := netip.MustParseAddr("fe80::")
	gateway := net.HardwareAddr{2, 0, 0, 0, 2, 1}
	addr := netip.MustParseAddr
	return attack.Site{
		VM:      attack.Host{MAC: vm, IPv4: addr("192.168.2.100"), Link: attack.EUI64(link, vm), IPv6: attack.EUI64(addr("2001:db8:2::"), vm)},
		Gateway: attack.Host{MAC: gateway, IPv4: addr("192.168.2.1"), Link: addr("fe80::1"), IPv6: addr("2001:db8:2::1")},
		DNS:     attack.Host{MAC: net.HardwareAddr{2, 0, 0, 0, 2, 0x35}, IPv4: addr("192.168.2.53")},
		Victim:  attack.Host{MAC: net.HardwareAddr{2, 0, 0, 0, 2, 0x4d}, IPv4: addr("192.168.2.77"), Link: addr("fe80::77"), IPv6: addr("2001:db8:2::77")},
		LAN:     netip.MustParsePrefix("192.168.2.0/24"),
		Web:     attack.Host{MAC: gateway, IPv4: addr("192.0.2.1"), IPv6: addr("2001:db8:ffff::1")},
	}
}

// sameVerdicts compares the formula's with the judge's, who sees each frame first.
func sameVerdicts(t *testing.T, j *prove.Judgement, sets *prove.Sets, batch [][]byte) {
	t.Helper()
	table := sets.Table(j)
	v := j.Values(sets, batch...)
	for lane, frame := range batch {
		d, err := judge.New(table).Frame(j.Hook, frame)
		if err != nil {
			if len(frame) >= 20 && v.Is(j.Legal, lane) {
				t.Errorf("no rule sees the frame, and the formula does: %v\n%x", err, frame)
			}
			continue
		}
		if !v.Is(j.Legal, lane) {
			t.Errorf("the formula has no such frame\n%x", frame)
			continue
		}
		i := slices.IndexFunc(j.Verdicts, func(x prove.Verdict) bool { return v.Is(x.When, lane) })
		if i < 0 {
			if d.Number != 0 {
				t.Errorf("the judge says %s %d, the formula has no rule for it\n%x", d.Chain, d.Number, frame)
			}
			continue
		}
		x := j.Verdicts[i]
		if x.Chain != d.Chain || x.Number != d.Number || v.Is(j.Passes, lane) != d.Passes {
			t.Errorf("the judge says %s %d (%s), the formula %s %d (%s)\n%x", d.Chain, d.Number, d.Rule, x.Chain, x.Number, x.Rule, frame)
		}
		// The formula's own frame lacks what no rule reads.
		if lane%8 != 0 {
			continue
		}
		if own, err := judge.New(table).Frame(j.Hook, j.Bytes(v, lane)); err != nil || own.Chain != d.Chain || own.Number != d.Number {
			t.Errorf("the formula's frame is another, %v:\n%x\n%x", err, j.Bytes(v, lane), frame)
		}
	}
}

// number gives what a variable of the environment says, as "make soak" has it say more.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
