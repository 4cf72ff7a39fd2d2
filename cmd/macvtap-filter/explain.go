package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/why"
)

// A question is what "explain" is asked: whose rules, and which frames.
type question struct {
	vm, xml string // the running VM, or the file, whose rules they are
	own     string // or the device that libvirt has no VM for
	policy  string // or the policy, of whatever VM
	device  string // its interface, when it has several

	out, in            bool
	from, to           string
	fromMAC, toMAC     string
	tcp, udp, fromPort *uint16 // nil: not given
	icmp, arp          bool
	vlan               *uint16
	hex, pcap          string

	live bool // the kernel's own verdicts are asked for
	long time.Duration

	expect string // "passes", "dropped", or "" for whatever it is
}

const explainUsage = `usage: macvtap-filter explain --out|--in [whose rules] the frame
       macvtap-filter explain --live VM [--for TIME] [--out|--in] [which frames]

Says what happens to a frame, which rule decides, and why. Nothing is sent.

  --out            the frame comes from the VM
  --in             the frame goes to the VM

whose rules; without any, those of a VM that no [[vm]] section names:
  --vm VM          a VM's, as libvirt has it; of one that runs, with the addresses that
                   they have learned, which only root can read
  --xml FILE|-     a domain XML's, with - from standard input
  --device DEV     those of a macvtap device that a [[device]] section is for
  --policy NAME    those of a VM that has a policy, on the first parent
  --interface DEV  which of the VM's interfaces, by its device
  --facts FILE     what "macvtap-filter facts PARENT" printed on the host

the frame, in words:
  --to ADDRESS     where it goes; with --in, default an address of the VM's own: one in
                   the configuration, or that a running VM's rules have learned, or
                   else 198.51.100.7 or 2001:db8:100::7
  --from ADDRESS   where it comes from; with --out, the same default
  --tcp PORT, --udp PORT, --icmp, --arp (a request for --to)
  --from-port PORT default 40000; without --tcp or --udp it has no effect
  --vlan ID        with a VLAN tag
  --to-mac MAC, --from-mac MAC
                   default the VM's in its XML, and at the other end the gateway's
                   where the address is the gateway's or beyond the link, else that of
                   some host; where --to is a group, and with --arp, the group's
or as it was captured, from the destination MAC address on:
  --hex DIGITS
  --pcap FILE      every frame of a file as tcpdump writes one

  --live           watches frames of a NIC that runs, and what the kernel's rules do with
                   them, until Ctrl-C or for --for TIME (default 10s): all, or those that
                   --to, --from, --tcp, --udp, --icmp, --arp, --to-mac and --from-mac name;
                   100 a second at most in each direction; only root can
  --expect passes|dropped
                   exit with 1 unless that becomes of every frame, and of one at least

It prints the verdict, the rule, the entry or key of the configuration that is the reason
with its file and line ("default": no file says it), and of a drop what would open it;
and the frame in words, and as --hex takes it.

example: macvtap-filter explain --out --to 192.168.2.77 --tcp 22
`

func explainFlags(f *flag.FlagSet, o *options) {
	q := &o.question
	f.BoolVar(&q.out, "out", false, "")
	f.BoolVar(&q.in, "in", false, "")
	f.StringVar(&q.vm, "vm", "", "")
	f.StringVar(&q.xml, "xml", "", "")
	f.StringVar(&q.own, "device", "", "")
	f.StringVar(&q.policy, "policy", "", "")
	f.StringVar(&q.device, "interface", "", "")
	f.StringVar(&o.facts, "facts", "", "")
	f.StringVar(&q.to, "to", "", "")
	f.StringVar(&q.from, "from", "", "")
	f.StringVar(&q.toMAC, "to-mac", "", "")
	f.StringVar(&q.fromMAC, "from-mac", "", "")
	number(f, "tcp", &q.tcp, 1, 65535)
	number(f, "udp", &q.udp, 1, 65535)
	number(f, "from-port", &q.fromPort, 0, 65535)
	f.BoolVar(&q.icmp, "icmp", false, "")
	f.BoolVar(&q.arp, "arp", false, "")
	number(f, "vlan", &q.vlan, 0, 4095)
	f.StringVar(&q.hex, "hex", "", "")
	f.StringVar(&q.pcap, "pcap", "", "")
	f.StringVar(&q.expect, "expect", "", "")
	f.BoolVar(&q.live, "live", false, "")
	f.DurationVar(&q.long, "for", 10*time.Second, "")
}

// number is a flag for a number of some range.
func number(f *flag.FlagSet, name string, to **uint16, least, most uint16) {
	f.Func(name, "", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || uint16(n) < least || uint16(n) > most {
			return fmt.Errorf("want a number from %d to %d", least, most)
		}
		*to = new(uint16(n))
		return nil
	})
}

// explain judges frames by a VM's ruleset.
func explain(ctx context.Context, std streams, o options, args []string) error {
	q := o.question
	if q.live && len(args) > 0 && q.vm == "" {
		q.vm, args = args[0], args[1:]
	}
	if err := wantNone(args); err != nil {
		return err
	}
	if q.out == q.in && !q.live {
		return badInput(errors.New("say --out for a frame from the VM, or --in for one to it"))
	}
	if err := q.check(); err != nil {
		return badInput(err)
	}
	c, d, running, network, err := q.asked(ctx, std, o)
	if err != nil {
		return err
	}
	network = plan.Remember(neighbourhood{network})
	made, err := plan.Make(d, c, network)
	if err != nil {
		return badInput(err)
	}
	table, i, err := q.table(d, made)
	if err != nil {
		return badInput(err)
	}
	e := endsOf(c, d, i, network)
	if q.live {
		return q.watch(ctx, std, d, i, running, e.asks())
	}
	if table, e, err = q.bindings(ctx, std, running, table, i, e); err != nil {
		return err
	}
	frames, err := q.frames(e)
	if err != nil {
		return badInput(err)
	}
	table, taken := q.assumeOwn(table, e, frames, running)
	return q.judge(std, judged{table: table, taken: taken, running: running, why: e.asks}, frames)
}

// judged is what frames are judged by.
type judged struct {
	table   ruleset.Table
	taken   []netip.Addr // for the VM's own, see assumeOwn
	running bool
	why     func() why.Asker
}

// judge prints what becomes of frames.
func (q question) judge(std streams, by judged, frames [][]byte) error {
	j, asker := judge.New(by.table), by.why()
	unlearned := false
	var others []string // than were expected
	for n, f := range frames {
		number := ""
		if len(frames) > 1 {
			number = fmt.Sprintf("frame %d: ", n+1)
		}
		d, err := j.Frame(q.hook(), f)
		text := verdict(by.table, d)
		if reason := asker.Reason(why.Verdict{Out: q.out, Frame: f, Passes: d.Passes, Rule: why.Deciding(d)}); reason != "" {
			text += "\n  reason: " + reason
		}
		if err != nil {
			text = fmt.Sprintf("not judged: %v", err)
		}
		fmt.Fprintf(std.out, "%s%s\n%s", number, text, q.shown(f))
		if q.expect != "" && (err != nil || d.Passes != (q.expect == passes)) {
			first, _, _ := strings.Cut(text, "\n")
			others = append(others, number+first)
		}
		unlearned = unlearned || err == nil && !d.Passes && filter.Unlearned(by.table, d.Rule)
	}
	for _, a := range by.taken {
		notef(std, "%v is taken for the VM's own address, since no other is known: --vm NAME takes those that a running VM has; \"addresses\" in its [[vm]] section names them", a)
	}
	if unlearned && !by.running && q.vm == "" && len(by.taken) == 0 {
		notef(std, "no address is known as the VM's own, as of one that has just started: --vm NAME takes those that a running VM has; \"addresses\" in its [[vm]] section names them")
	}
	if len(others) > 0 {
		return fmt.Errorf("expected %q, and it is: %s", q.expect, strings.Join(others, "; "))
	}
	return nil
}

// shown gives a frame for people, and, where it was not asked so, for --hex.
func (q question) shown(f []byte) string {
	way := map[bool]string{true: "from", false: "to"}[q.out]
	text := fmt.Sprintf("  frame %s the VM: %s\n", way, frame.Words(f))
	if q.hex == "" {
		text += fmt.Sprintf("  --hex %x\n", f)
	}
	return text
}

// check says what is wrong with the question, before anything is asked of the host. A
// capture may be a pipe, which is read once.
func (q question) check() error {
	if q.live {
		_, err := q.wish("")
		return err
	}
	words := q.to+q.from+q.toMAC+q.fromMAC != "" || q.icmp || q.arp ||
		q.tcp != nil || q.udp != nil || q.fromPort != nil || q.vlan != nil
	switch captured := q.hex+q.pcap != ""; {
	case q.vm != "" && q.xml != "":
		return errors.New("give either --vm or --xml")
	case q.own != "" && q.vm+q.xml != "":
		return errors.New("give either --device, or --vm or --xml")
	case q.policy != "" && q.own+q.vm+q.xml != "":
		return errors.New("give either --policy, or --vm, --xml or --device")
	case q.expect != "" && q.expect != passes && q.expect != dropped:
		return fmt.Errorf("--expect %s: want %s or %s", q.expect, passes, dropped)
	case q.hex != "" && q.pcap != "":
		return errors.New("give either --hex or --pcap")
	case captured && words:
		return errors.New("give the frame either in words, or with --hex or --pcap")
	case q.pcap != "":
		return nil
	}
	_, err := q.frames(ends{vm: anyMAC, router: anyMAC})
	return err
}

func (q question) hook() ruleset.HookType {
	if q.out {
		return ruleset.Egress
	}
	return ruleset.Ingress
}

// What becomes of a frame.
const (
	passes  = "passes"
	dropped = "dropped"
)

// verdict says in words what becomes of a frame.
func verdict(t ruleset.Table, d judge.Decision) string {
	what, because := dropped, "by a rule without a name"
	if d.Passes {
		what, because = passes, "accepted"
	}
	if d.Number == 0 {
		return fmt.Sprintf("%s: no rule of %s lets it pass", what, d.Chain)
	}
	if words := why.Deciding(d).Comment; words != "" {
		because = words
	}
	path, rule := standing(t, d)
	return fmt.Sprintf("%s: %s\n  by rule %d of %s: %s", what, because, d.Number, strings.Join(path, " → "), rule)
}

// standing gives the chains that a frame went through, and the rule that decided, as they
// stand in the one table.
func standing(t ruleset.Table, d judge.Decision) (path []string, rule ruleset.Rule) {
	var part string
	for part = range t.Names {
		break
	}
	bases, others := t.Bases(part), t.Named(part).Chains
	for _, c := range t.Chains {
		var stands ruleset.Chain
		if c.Hook != nil {
			stands, bases = bases[0], bases[1:]
		} else {
			stands, others = others[0], others[1:]
		}
		for i, name := range d.Path {
			if name == c.Name {
				d.Path[i] = stands.Name
			}
		}
		if c.Name == d.Chain {
			rule = stands.Rules[d.Number-1]
		}
	}
	return d.Path, rule
}

// asked is what a question is about: a configuration, a VM with whether it runs, and the host's network.
func (q question) asked(ctx context.Context, std streams, o options) (c *config.Config, d *domain.Domain, running bool, network plan.Network, err error) {
	if c, err = config.Load(o.config); err != nil {
		return nil, nil, false, nil, badInput(err)
	}
	if q.policy != "" {
		if c, err = c.Only(q.policy); err != nil {
			return nil, nil, false, nil, badInput(fmt.Errorf("--policy: %w", err))
		}
	}
	if d, running, err = q.domain(ctx, std, c); err != nil {
		return nil, nil, false, nil, err
	}
	if network, err = renderNetwork(ctx, o); err == nil {
		err = assume(ctx, std, d, c, network)
	}
	return c, d, running, network, err
}

// domain is whose rules they are, and whether it runs.
func (q question) domain(ctx context.Context, std streams, c *config.Config) (d *domain.Domain, running bool, err error) {
	switch {
	case q.vm != "":
		return q.named(ctx, std)
	case q.own != "":
		d, err := ownDevice(ctx, c, q.own)
		if err == nil {
			d.Complete()
		}
		return d, true, err
	case q.xml == "-":
		d, err := domain.Parse(std.in)
		return d, false, badInput(err)
	case q.xml != "":
		file, err := os.Open(q.xml)
		if err != nil {
			return nil, false, badInput(err)
		}
		defer file.Close()
		d, err := domain.Parse(file)
		return d, false, badInput(err)
	}
	// Any VM will do, on the first parent.
	parent, err := anyParent(ctx, c)
	d = &domain.Domain{Name: "any", Direct: []domain.Interface{{Number: 1, Parent: parent}}}
	d.Complete() // what is filled in matters to nobody
	return d, false, err
}

// named is a VM of libvirt's: as it runs, or, shut off, as it is defined.
func (q question) named(ctx context.Context, std streams) (d *domain.Domain, running bool, err error) {
	client, err := libvirt.Dial(ctx)
	if err != nil {
		return nil, false, err
	}
	defer client.Close()
	d, err = liveDomain(ctx, client, q.vm)
	if !errors.Is(err, libvirt.ErrNotRunning) {
		if err == nil {
			d.Complete()
		}
		return d, true, err
	}
	xml, err := client.XML(ctx, q.vm)
	if err != nil {
		return nil, false, err
	}
	d, err = parseNamed(q.vm, strings.NewReader(xml))
	if err == nil {
		notef(std, "VM %q: it is shut off: judged as it is defined, before it has learned any address", q.vm)
	}
	return d, false, err
}

// ownDevice gives what stands for the domain of a device that a [[device]] section is for.
func ownDevice(ctx context.Context, c *config.Config, name string) (*domain.Domain, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	f := &deviceFinder{config: c, host: h}
	if client, err := libvirt.Dial(ctx); err == nil {
		defer client.Close()
		f.client = client
	}
	return f.named(ctx, name, false)
}

// anyParent gives the first parent's name; of a glob, that of the first NIC here that
// it matches.
func anyParent(ctx context.Context, c *config.Config) (string, error) {
	first := c.Parents[0]
	if !strings.ContainsAny(first, "*?[\\") {
		return first, nil
	}
	h, err := host.Open(ctx)
	if err != nil {
		return "", err
	}
	defer h.Close()
	nics, err := h.Match(first)
	if err == nil && len(nics) == 0 {
		err = badInput(fmt.Errorf("parent %q: this host has no such NIC; say whose rules with --xml", first))
	}
	if err != nil {
		return "", err
	}
	return nics[0].Name, nil
}

// table picks the rules of one of the VM's interfaces, and gives the interface.
func (q question) table(d *domain.Domain, made plan.Plan) (ruleset.Table, domain.Interface, error) {
	var devices []string
	for _, i := range d.Direct {
		for _, t := range made.Tables {
			if t.Name != ruleset.TableName(i.Target) {
				continue
			}
			if i.Target == q.device {
				return t, i, nil
			}
			devices = append(devices, i.Target)
			if len(made.Tables) == 1 && q.device == "" {
				return t, i, nil
			}
		}
	}
	if len(devices) == 0 {
		return ruleset.Table{}, domain.Interface{}, fmt.Errorf("VM %q has no direct interface on a configured parent: nothing is filtered", d.Name)
	}
	return ruleset.Table{}, domain.Interface{}, fmt.Errorf("VM %q: say --interface and one of %s", d.Name, strings.Join(devices, ", "))
}
