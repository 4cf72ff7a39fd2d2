package main

import (
	"context"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/policytest"
)

// load reads the configuration that is in force, if it keeps its own tests.
func load(ctx context.Context, file string) (*config.Config, error) {
	c, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	return c, takerOf(ctx).Take(c)
}

// takerOf decides tests for this host.
func takerOf(ctx context.Context) policytest.Taker {
	return policytest.Taker{Record: policytest.Record, Version: built(), Facts: func(c *config.Config) ([]facts.Facts, error) { return parentsFacts(ctx, c) }}
}

// parentsFacts gives the facts of the NICs of this host that are parents.
func parentsFacts(ctx context.Context, c *config.Config) ([]facts.Facts, error) {
	h, err := host.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var out []facts.Facts
	for _, pattern := range c.Parents {
		nics, err := h.Match(pattern)
		if err != nil {
			return nil, err
		}
		for _, nic := range nics {
			if nic.Master != "" {
				continue // no VM can be on it
			}
			f, err := h.FactsOf(nic)
			if err != nil {
				return nil, err
			}
			out = append(out, f)
		}
	}
	return out, nil
}
