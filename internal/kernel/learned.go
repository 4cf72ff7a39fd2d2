package kernel

import (
	"context"

	"macvtap-filter/internal/ruleset"
)

// Learned gives what stands in sets of interfaces' own, by the sets' names: of one that does
// not stand, nothing. An element says how long it will be there.
func Learned(ctx context.Context, sets ...string) (map[string][]ruleset.Element, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var out map[string][]ruleset.Element
	err = retry(ctx, func() error {
		r.begin()
		p, err := r.take(ruleset.RulesTable, func(p *picture) error {
			for _, name := range sets {
				if err := p.set(name); err != nil {
					return err
				}
			}
			return nil
		})
		out = map[string][]ruleset.Element{}
		if err != nil {
			return err
		}
		for name, s := range p.sets {
			out[name] = s.named().Elements
		}
		return nil
	})
	return out, err
}
