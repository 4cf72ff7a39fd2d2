package plan

import (
	"fmt"
	"slices"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A resolution is what a policy means by the facts of a parent.
type resolution struct {
	policy   policy.Policy
	warnings []string
	rules    *sharedRules
}

// sharedRules are those of the first interface that has a policy: those of others are made
// of these.
type sharedRules struct{ first *ruleset.Table }

// resolution resolves a policy, once for many VMs where the network remembers, and the VM's
// metadata says nothing of its own.
func (p *planner) resolution(configured config.Policy, known facts.Facts) (*resolution, error) {
	m, remembers := p.network.(*memory)
	if !remembers || p.domain.Choice != nil && p.config.HonourMetadata {
		return resolve(configured, known)
	}
	key := fmt.Sprintf("%s %s %s", configured.Name, known.Parent, known.GatewayMACs)
	named := configured.Own
	configured.Own = config.Own{}
	shared, err := once(m.policies, key, func(string) (*resolution, error) { return resolve(configured, known) })
	if err != nil || !named.Names(true) && !named.Names(false) {
		return shared, err
	}
	// Rules differ by the families of which the VM's addresses are known, and where others than
	// the VM would have them for certain.
	key += fmt.Sprint(" ", named.Names(true), named.Names(false), named.DHCP, named.SLAAC, named.Prefixes)
	for _, a := range shared.policy.Claimed {
		if slices.Contains(named.Addresses, a) {
			key += " " + a.String()
		}
	}
	configured.Own = named
	shared, err = once(m.policies, key, func(string) (*resolution, error) { return resolve(configured, known) })
	if err != nil {
		return nil, err
	}
	own := *shared
	own.policy.Own = named
	return &own, nil
}

func resolve(configured config.Policy, known facts.Facts) (*resolution, error) {
	resolved, warnings, err := policy.Resolve(configured, known)
	return &resolution{policy: resolved, warnings: warnings, rules: &sharedRules{}}, err
}

// table gives the rules of an interface.
func (r *resolution) table(d *domain.Domain, i domain.Interface) (ruleset.Table, error) {
	if r.rules.first != nil {
		return filter.Like(*r.rules.first, d, i, r.policy)
	}
	made, err := filter.Table(d, i, r.policy)
	if err == nil {
		r.rules.first = &made
	}
	return made, err
}
