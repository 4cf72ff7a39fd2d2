package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// render prints the ruleset of a domain XML.
func render(ctx context.Context, std streams, o options, args []string) error {
	if o.format != "nft" && o.format != "json" {
		return badInput(fmt.Errorf("--format %s: want nft or json", o.format))
	}
	if o.old != "" && o.check == "" {
		return badInput(errors.New("--diff goes with --check; \"macvtap-filter reach --diff\" compares without golden files"))
	}
	if o.check != "" || o.output != "" {
		return renderMany(ctx, std, o, args)
	}
	if o.codeQuality != "" {
		return badInput(errors.New("--code-quality goes with --check or --output"))
	}
	d, err := renderDomain(std.in, args)
	if wrong := new(domain.Error); errors.As(err, &wrong) && len(args) == 1 && args[0] != "-" {
		err = fmt.Errorf("%s: %w", args[0], err)
	}
	if err != nil {
		return badInput(err)
	}
	c, err := config.Load(o.config)
	if err != nil {
		return badInput(err)
	}
	warnConfig(std, c)
	network, err := renderNetwork(ctx, o)
	if err != nil {
		return err
	}
	if err := assume(ctx, std, d, c, network); err != nil {
		return err
	}
	made, err := plan.Make(d, c, network)
	if err != nil {
		return badInput(err)
	}
	for _, w := range made.Warnings {
		warningf(std, "%s", w)
	}
	noteNetworks(std, d)
	// Which NICs are parents is easily mistaken, and what is printed does not show it.
	switch {
	case len(made.Tables) == 0:
		notef(std, "VM %q has no direct interface on a configured parent: nothing to filter", d.Name)
	case len(made.Open) == 0:
		for _, device := range made.Unguarded {
			notef(std, "VM %q: interface %q has no rules: its NIC is none of the parents", d.Name, device)
		}
	}
	noteJSON(std, o.format, made.Tables)
	return printTables(std.out, o.format, made.Tables)
}

// noteJSON tells of what nft's JSON has no words for.
func noteJSON(std streams, format string, tables []ruleset.Table) {
	learns := func(t ruleset.Table) bool { return filter.LearnsFamily(t, anyIPv4) || filter.LearnsFamily(t, anyIPv6) }
	if format == "json" && slices.ContainsFunc(tables, filter.TracksFlows) {
		notef(std, "rules in nft's JSON know no flows: under them a VM gets no answers to what it opens where inbound lists services, and gives none where outbound does, or to serve by UDP; the text, and the hook, have such rules")
	}
	if format == "json" && slices.ContainsFunc(tables, learns) {
		notef(std, "rules in nft's JSON learn no addresses: under them a VM has those alone that are in addresses of its [[vm]] section; the text, and the hook, have such rules")
	}
}

// noteNetworks tells of interfaces that may turn out to be direct ones: of a VM that runs,
// with a device then, libvirt writes those of a network of macvtap devices so.
func noteNetworks(std streams, d *domain.Domain) {
	for _, i := range d.Others {
		if i.Type == "network" && i.Target == "" {
			notef(std, "VM %q: interface %d is on a libvirt network: if that is one of macvtap devices (\"virsh net-dumpxml\" says mode='bridge' and <interface dev=…>), it gets rules when the VM runs, and \"virsh dumpxml\" then shows it with type='direct'", d.Name, i.Number)
		}
	}
}

func printTables(w io.Writer, format string, tables []ruleset.Table) error {
	for _, t := range tables {
		if err := t.Validate(); err != nil {
			return err
		}
	}
	if format == "nft" {
		_, err := io.WriteString(w, ruleset.Text(tables))
		return err
	}
	text, err := ruleset.JSON(tables)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// renderDomain reads the domain.
func renderDomain(in io.Reader, args []string) (*domain.Domain, error) {
	if len(args) > 1 {
		return nil, errors.New("want one domain XML; with --check or --output, any number")
	}
	if len(args) == 1 && args[0] != "-" {
		file, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	return domain.Parse(in)
}

// assume fills in what only libvirt gives a domain and what only its host's kernel knows: a
// device that libvirt is to take (managed='no') is taken for a macvtap on the first parent.
// What is printed is then at worst more than will stand.
func assume(ctx context.Context, std streams, d *domain.Domain, c *config.Config, network plan.Network) error {
	unmanaged := map[string]bool{}
	for _, o := range d.Others {
		unmanaged[o.Target] = unmanaged[o.Target] || o.Unmanaged
	}
	err := d.Adopt(func(device string) (name, parent string, ok bool, err error) {
		if !unmanaged[device] {
			return "", "", false, nil
		}
		if parent, err = assumedParent(ctx, c, network); err != nil {
			notef(std, "VM %q: whether the device %q is a macvtap, and on which NIC, only the VM's host knows: no rules are shown for it", d.Name, device)
			return "", "", false, nil
		}
		notef(std, "VM %q: whether the device %q is a macvtap, and on which NIC, only the VM's host knows: taken for one on %q", d.Name, device, parent)
		return device, parent, true, nil
	})
	for _, note := range d.Complete() {
		notef(std, "%s", note)
	}
	return err
}

// assumedParent gives the first parent of those that facts were recorded of, or else the
// first of all.
func assumedParent(ctx context.Context, c *config.Config, network plan.Network) (string, error) {
	recorded, _ := network.(plan.Recorded)
	for _, f := range recorded {
		if c.GuardsParent(append(f.Names, f.Parent)...) {
			return f.Parent, nil
		}
	}
	return anyParent(ctx, c)
}

// renderNetwork is the host that facts were recorded on, or else this one.
func renderNetwork(ctx context.Context, o options) (plan.Network, error) {
	if o.facts == "" {
		h, err := host.Open(ctx) // open until the process ends
		return plan.Offline{Host: h}, err
	}
	file, err := os.Open(o.facts)
	if err != nil {
		return nil, badInput(err)
	}
	defer file.Close()
	known, err := facts.Read(file)
	if err != nil {
		return nil, badInput(fmt.Errorf("%s: %w", o.facts, err))
	}
	return plan.Recorded(known), nil
}

// printFacts prints the facts of parents.
func printFacts(ctx context.Context, std streams, _ options, args []string) error {
	if len(args) == 0 {
		return badInput(errors.New("name the parent, as in: macvtap-filter facts enp88s0"))
	}
	h, err := host.Open(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, parent := range args {
		f, err := h.Facts(parent)
		if err != nil {
			return err
		}
		if err := f.Write(std.out); err != nil {
			return err
		}
	}
	return nil
}
