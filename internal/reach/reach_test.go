package reach

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// A subject is one interface's rules.
type subject struct {
	name  string
	table ruleset.Table
	ends  Ends
}

// subjects gives the interfaces of all golden cases.
func subjects(t *testing.T) []subject {
	t.Helper()
	stories, err := filepath.Glob("../../testdata/cases/*")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	var out []subject
	for _, story := range stories {
		open := func(name string) *os.File {
			file, err := os.Open(filepath.Join(story, name))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { file.Close() })
			return file
		}
		c, err := config.Load(filepath.Join(story, "config.toml"))
		if err != nil {
			t.Fatal(err)
		}
		known, err := facts.Read(open("facts.json"))
		if err != nil {
			t.Fatal(err)
		}
		d, err := domain.Parse(open("domain.xml"))
		if err != nil {
			t.Fatal(err)
		}
		d.Complete()
		made, err := plan.Make(d, c, plan.Recorded(known))
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range made.Tables {
			for _, i := range d.Direct {
				if ruleset.TableName(i.Target) != table.Name {
					continue
				}
				f, _ := plan.Recorded(known).Facts(i.Parent)
				out = append(out, subjectOf(filepath.Base(story)+"/"+i.Target, table, i.MAC, f))
			}
		}
	}
	return out
}

func subjectOf(name string, table ruleset.Table, mac net.HardwareAddr, f facts.Facts) subject {
	e := Ends{VM: mac, Router: net.HardwareAddr{2, 0, 0, 0, 2, 1}, Host: net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}, Gateways: f.Gateway, OnLink: f.OnLink, Broadcast: f.Broadcast}
	if len(f.GatewayMACs) > 0 {
		e.Router = net.HardwareAddr(f.GatewayMACs[0])
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:100::7")} {
		if filter.LearnsFamily(table, a) {
			table = filter.WithAddress(table, a)
		}
		e.Own = append(e.Own, a)
	}
	own, _, _ := filter.Addresses(table)
	for _, a := range own {
		e.Own = append(e.Own, a.Addr)
	}
	return subject{name, table, e}
}

// Of all golden rules nothing is left that is not understood, and the answer is the same as
// what the rules say of single frames, one after the other.
func TestOfIsWhatIsJudged(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) {
			began := time.Now()
			r, err := Of(s.table, s.ends)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, %d kinds", time.Since(began), len(r.Out)+len(r.In))
			p := prober{rand.New(rand.NewPCG(seed, 1)), s, t}
			kinds := append(r.Out, r.In...)
			for range 60 {
				p.probe(kinds[p.IntN(len(kinds))])
			}
			for _, k := range kinds {
				if hasPorts(k.protos[0]) {
					p.probe(k)
				}
			}
		})
	}
}

type prober struct {
	*rand.Rand
	subject
	*testing.T
}

// probe judges one frame of a kind, and its answer: at the ends of ranges half of the time.
func (p prober) probe(k Kind) {
	at := p.values(k)
	proto := k.protos[p.IntN(len(k.protos))]
	sent, whole := false, false
	for _, own := range p.ends.own(k.family) {
		for _, far := range p.ends.ends(k.family, k.hook) {
			if !far.peers.has(at) {
				continue
			}
			j := judge.New(p.table)
			d, err := j.Frame(k.hook, k.family.datagram(k.hook, proto, own, p.ends.VM, far.mac, false).filled(k.family, at))
			if err != nil {
				p.Fatal(err)
			}
			sent = sent || d.Passes
			if !d.Passes || !far.usual.has(at) || far.link && !p.finds(k, own, at) {
				continue
			}
			if far.group {
				whole = true
				continue
			}
			a, err := j.Frame(other(k.hook), k.family.datagram(other(k.hook), proto, own, p.ends.VM, far.mac, true).filled(k.family, at))
			if err != nil {
				p.Fatal(err)
			}
			whole = whole || a.Passes
		}
	}
	if k.bare.has(at) != sent || k.whole.has(at) != whole {
		p.Errorf("%s protocol %d, %v: %v %v, judged %v %v", k.hook, proto, at, k.bare.has(at), k.whole.has(at), sent, whole)
	}
}

func (p prober) finds(k Kind, own netip.Addr, at [dimensions]point) bool {
	asks, has, from, about := p.ends.VM, p.ends.Host, known(own.AsSlice()), k.family.openValue(peer)
	if k.hook == ruleset.Ingress {
		asks, has, from, about = has, asks, about, from
	}
	j := judge.New(p.table)
	d, err := j.Frame(k.hook, k.family.question(k.hook, asks, from, about).filled(k.family, at))
	if err != nil {
		p.Fatal(err)
	}
	a, err := j.Frame(other(k.hook), k.family.reply(other(k.hook), has, asks, about, from).filled(k.family, at))
	if err != nil {
		p.Fatal(err)
	}
	return d.Passes && a.Passes
}

// values picks open values.
func (p prober) values(k Kind) (at [dimensions]point) {
	s := k.bare
	if p.IntN(2) == 0 {
		s = k.whole
	}
	for d := range at {
		at[d] = p.somewhere(k.family, d)
		if len(s) == 0 {
			continue
		}
		r := s[p.IntN(len(s))]
		if p.IntN(3) > 0 {
			at[d] = []point{r.from, r.to, r.from.prev(), r.to.next()}[p.IntN(4)]
		}
		if most := ones(8 * k.family.width(d)); most.less(at[d]) {
			at[d] = most
		}
		s = nil
		if r.in != nil {
			s = *r.in
		}
	}
	return at
}

func (p prober) somewhere(f family, d int) point {
	if d != peer {
		return point{lo: uint64(p.IntN(1 << 16))}
	}
	if f.bytes == 4 {
		return point{lo: uint64(p.Uint32())}
	}
	return point{p.Uint64(), p.Uint64()}
}

// has reports whether a frame is in a space.
func (s space) has(at [dimensions]point) bool {
	for d, p := range at {
		if d == dimensions-1 {
			return len(and.combine(s, space{{p, p, nil}})) > 0
		}
		i := 0
		for i < len(s) && s[i].to.less(p) {
			i++
		}
		if i == len(s) || p.less(s[i].from) {
			return false
		}
		s = *s[i].in
	}
	return false
}
