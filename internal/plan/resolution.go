package plan

import (
	"fmt"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// A resolution is what a policy means by the facts of a parent, and the rules of the first
// interface that has it: those of others are made of these.
type resolution struct {
	policy   policy.Policy
	warnings []string
	rules    *ruleset.Table
}

// resolution resolves a policy, once for many VMs where the network remembers, and the policy
// has nothing of one VM.
func (p *planner) resolution(configured config.Policy, known facts.Facts) (*resolution, error) {
	m, remembers := p.network.(*memory)
	own := len(configured.Addresses) > 0 || p.domain.Choice != nil && p.config.HonourMetadata
	if !remembers || own {
		return resolve(configured, known)
	}
	return once(m.policies, fmt.Sprintf("%s %s %s", configured.Name, known.Parent, known.GatewayMACs), func(string) (*resolution, error) { return resolve(configured, known) })
}

func resolve(configured config.Policy, known facts.Facts) (*resolution, error) {
	resolved, warnings, err := policy.Resolve(configured, known)
	return &resolution{policy: resolved, warnings: warnings}, err
}

// table gives the rules of an interface.
func (r *resolution) table(d *domain.Domain, i domain.Interface) (ruleset.Table, error) {
	if r.rules != nil {
		return filter.Like(*r.rules, d, i, r.policy)
	}
	made, err := filter.Table(d, i, r.policy)
	if err == nil {
		r.rules = &made
	}
	return made, err
}
