package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/reach"
	"macvtap-filter/internal/ruleset"
)

const reachUsage = `usage: macvtap-filter reach VM [--json]
       macvtap-filter reach --xml FILE|- | --policy NAME [--facts FILE]
       macvtap-filter reach --diff OLD VM | --xml FILE|-

Says what a VM can open, and who can open what on it: all addresses, protocols and
ports, from its rules, which are judged for sets of frames. Nothing is sent.

  --xml FILE|-     a domain XML's rules, with - from standard input
  --device DEV     those of a macvtap device that a [[device]] section is for
  --policy NAME    those of a VM that has a policy, on the first parent
  --interface DEV  one of the VM's interfaces, by its device, and not all
  --facts FILE     what "macvtap-filter facts PARENT" printed on the host
  --diff OLD       only what the configuration opens and closes, compared with another
                   configuration file
  --json           as JSON

Something can be opened where its first frame passes and the answer, and on the link the
peer is found by ARP or neighbour discovery. What passes beside that is told apart: one
way alone, to another host's MAC address, from some ports alone. Frames are ordinary
ones, without VLAN tags, IP options or fragments, of DHCP none.

example: macvtap-filter reach web-1
`

func reachFlags(f *flag.FlagSet, o *options) {
	q := &o.question
	f.StringVar(&q.xml, "xml", "", "")
	f.StringVar(&q.own, "device", "", "")
	f.StringVar(&q.policy, "policy", "", "")
	f.StringVar(&q.device, "interface", "", "")
	f.StringVar(&o.facts, "facts", "", "")
	f.StringVar(&o.old, "diff", "", "")
	f.BoolVar(&o.json, "json", false, "")
}

// A reachReport is what "reach --json" prints of one interface.
type reachReport struct {
	VM        string `json:"vm"`
	Interface string `json:"interface"`
	Policy    string `json:"policy"`
	*reach.Report
	Opens  *reach.Report `json:"opens,omitempty"` // with --diff
	Closes *reach.Report `json:"closes,omitempty"`
}

// showReach prints the reach of a VM's interfaces.
func showReach(ctx context.Context, std streams, o options, args []string) error {
	q := o.question
	q.out = true // the addresses are asked for as of frames from the VM
	switch given := q.xml + q.own + q.policy; {
	case len(args) > 1, len(args) == 1 && given != "", q.xml != "" && q.own != "", q.policy != "" && q.xml+q.own != "":
		return badInput(errors.New("want one VM, or --xml, --device or --policy"))
	case len(args) == 0 && given == "":
		return badInput(errors.New("name the VM, as in: macvtap-filter reach web-1"))
	case len(args) == 1:
		q.vm = args[0]
	}
	c, d, running, network, err := q.asked(ctx, std, o)
	if err != nil {
		return err
	}
	now, err := q.reaches(ctx, std, running, c, d, network)
	if err != nil {
		return err
	}
	var before []interfaceReach
	if o.old != "" {
		old, err := config.Load(o.old)
		if err != nil {
			return badInput(err)
		}
		if q.policy != "" {
			if old, err = old.Only(q.policy); err != nil {
				return badInput(fmt.Errorf("--policy: %w", err))
			}
		}
		if before, err = q.reaches(ctx, streams{std.in, std.out, io.Discard}, running, old, d, network); err != nil {
			return fmt.Errorf("with %s: %w", o.old, err)
		}
	}
	reports := []reachReport{}
	for _, i := range now {
		reports = append(reports, i.report(o.old != "", before))
	}
	if o.json {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		return out.Encode(reports)
	}
	for _, r := range reports {
		r.print(std.out)
	}
	return nil
}

// An interfaceReach is the reach of one interface.
type interfaceReach struct {
	vm     string
	device string
	policy string
	reach  reach.Reach
}

// reaches finds the reach of a domain's interfaces out.
func (q question) reaches(ctx context.Context, std streams, running bool, c *config.Config, d *domain.Domain, network plan.Network) ([]interfaceReach, error) {
	network = plan.Remember(neighbourhood{network}) // of one configuration
	made, err := plan.Make(d, c, network)
	if err != nil {
		return nil, badInput(err)
	}
	var out []interfaceReach
	for _, i := range d.Direct {
		n := slices.IndexFunc(made.Tables, func(t ruleset.Table) bool { return t.Name == ruleset.TableName(i.Target) })
		if n < 0 || q.device != "" && i.Target != q.device {
			continue
		}
		e := endsOf(c, d, i, network)
		table, e, err := q.bindings(ctx, std, running, made.Tables[n], i, e)
		if err != nil {
			return nil, err
		}
		r, err := reach.Of(table, e.reach())
		if err != nil {
			return nil, fmt.Errorf("VM %q: %s: %w", d.Name, i, err)
		}
		out = append(out, interfaceReach{d.Name, i.Target, made.Policies[i.Target], r})
	}
	if len(out) == 0 {
		_, _, err := q.table(d, made)
		return nil, badInput(err)
	}
	return out, nil
}

// reach gives the ends of all frames. A VM without an address of a family is judged with one
// that is not its own.
func (e ends) reach() reach.Ends {
	out := reach.Ends{VM: e.vm, Own: slices.Clone(e.own.Addresses), Router: e.router, Host: otherMAC, Gateways: e.facts.Gateway, OnLink: e.facts.OnLink, Broadcast: e.facts.Broadcast}
	for _, one := range []netip.Addr{anyIPv4, anyIPv6} {
		if !slices.ContainsFunc(out.Own, func(a netip.Addr) bool { return a.Is4() == one.Is4() }) {
			out.Own = append(out.Own, e.address(one))
		}
	}
	return out
}

// otherMAC is some host's on the link, and never the gateway's.
var otherMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfd}

// report is what is to be printed: of two configurations only what differs.
func (i interfaceReach) report(diff bool, before []interfaceReach) reachReport {
	r := reachReport{VM: i.vm, Interface: i.device, Policy: i.policy}
	if !diff {
		all := i.reach.Report()
		r.Report = &all
		return r
	}
	var old reach.Reach
	if n := slices.IndexFunc(before, func(b interfaceReach) bool { return b.device == i.device }); n >= 0 {
		old = before[n].reach
	}
	opens, closes := i.reach.Diff(old).Report(), old.Diff(i.reach).Report()
	r.Opens, r.Closes = &opens, &closes
	return r
}

func (r reachReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s, interface %q, policy %q:\n", r.VM, r.Interface, r.Policy)
	if r.Report != nil {
		printReach(w, *r.Report, "", "nothing")
		return
	}
	if r.Opens.Empty() && r.Closes.Empty() {
		fmt.Fprintln(w, "  nothing changes")
	}
	printReach(w, *r.Opens, "now ", "")
	printReach(w, *r.Closes, "no longer ", "")
}

// printReach prints a report's lines; of an empty list what stands for nothing, if anything.
func printReach(w io.Writer, r reach.Report, when, nothing string) {
	for _, list := range []struct {
		title string
		lines []reach.Line
		must  bool
	}{
		{"can open", r.CanOpen, true}, {"sends, and opens nothing by it", r.AlsoSends, false},
		{"is opened by", r.OpenedBy, true}, {"receives, and nothing is opened by it", r.AlsoReceives, false},
	} {
		if len(list.lines) == 0 && (nothing == "" || !list.must) {
			continue
		}
		fmt.Fprintf(w, "  %s%s:\n", when, list.title)
		for _, l := range list.lines {
			fmt.Fprintf(w, "    %v\n", l)
		}
		if len(list.lines) == 0 {
			fmt.Fprintf(w, "    %s\n", nothing)
		}
	}
}
