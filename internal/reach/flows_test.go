package reach

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"go4.org/netipx"

	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/ruleset"
)

// What is said of one flow is what the judge says of its frames, under all golden policies; and a
// flow that is named of many is one of them.
func TestFlows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	peers := []string{"192.168.2.1", "192.168.2.77", "192.168.2.10", "192.168.2.53", "10.1.2.3", "8.8.8.8", "203.0.113.9", "fe80::1", "fe80::77", "2001:db8:2::77", "2600::1", "fc00::7"}
	for _, s := range subjects(t) {
		reached, err := Of(s.table, s.ends)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for range 40 {
			out := r.IntN(2) == 0
			peer := netip.MustParseAddr(peers[r.IntN(len(peers))])
			flow := Flow{[]byte{ruleset.TCP, ruleset.UDP}[r.IntN(2)], 40000, []uint16{22, 53, 80, 443, 873, 5000}[r.IntN(6)], peer}
			one := Flows{[]byte{flow.Proto}, flow.Service, flow.Service, []netipx.IPRange{netipx.IPRangeFrom(peer, peer)}}
			closed, isClosed := reached.Closed(out, one)
			if isClosed && closed != flow {
				t.Errorf("%s: out %t: asked for %v, and got %v", s.name, out, flow, closed)
			}
			if opens := s.opens(out, flow); opens == isClosed {
				t.Errorf("%s: out %t: %v: closed %t, but its frames pass: %t", s.name, out, flow, isClosed, opens)
			}
			if sent, passes := reached.Passes(out, []Flows{one}, nil); passes && (sent.Service != flow.Service || sent.Peer != peer) {
				t.Errorf("%s: out %t: asked for %v, and got %v", s.name, out, flow, sent)
			} else if !passes && !isClosed {
				t.Errorf("%s: out %t: %v can be opened, and does not pass", s.name, out, flow)
			}
			if _, passes := reached.Passes(out, []Flows{one}, []Flows{one}); passes {
				t.Errorf("%s: out %t: %v passes, and is an exception", s.name, out, flow)
			}
		}
	}
}

// opens judges a flow's frames one after the other, from some address of the VM's.
func (s subject) opens(out bool, flow Flow) bool {
	usual, _ := s.ends.Exchanges(out, flow)
	for _, exchange := range usual {
		j := judge.New(s.table)
		opens := true
		for _, step := range exchange {
			d, err := j.Frame(step.Hook, step.Frame)
			opens = opens && err == nil && d.Passes
		}
		if opens {
			return true
		}
	}
	return false
}
