package main

import (
	"context"
	"errors"
	"fmt"
)

// frames are the times of single frames.
type frames struct {
	rules []rules
	ns    map[kind]map[string]series // by kind and name of the rules
}

// timeFrames times each kind of frame under each ruleset, round by round, all on
// one device.
func timeFrames(ctx context.Context, s *site, o options) (_ *frames, err error) {
	all, err := s.allRules()
	if err != nil {
		return nil, err
	}
	timed := &frames{rules: all, ns: map[kind]map[string]series{}}
	for _, k := range kinds {
		timed.ns[k] = map[string]series{}
	}
	t, err := s.startTraffic()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	for round := range o.rounds {
		for turn := range all {
			// No ruleset always comes after the same other.
			r := all[(turn+round)%len(all)]
			if err := s.install(ctx, r); err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if err := timed.turn(ctx, t, r, o); err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return timed, nil
}

// turn times all kinds of frames under the rules that stand.
func (f *frames) turn(ctx context.Context, t *traffic, r rules, o options) error {
	if err := checkRules(t, r); err != nil {
		return err
	}
	return onProcessor(func() error {
		// The first one is only for warming up: caches are cold, and the kernel
		// may still be freeing the rules before these.
		for i, k := range append(kinds[:1:1], kinds...) {
			if err := ctx.Err(); err != nil {
				return err
			}
			frame, err := k.frame(r.allowed)
			if err != nil {
				return err
			}
			ns, err := t.round(k, frame, o.slice)
			if err != nil {
				return fmt.Errorf("%s %s: %w", k.peer, k.way, err)
			}
			if i > 0 {
				f.ns[k][r.name] = append(f.ns[k][r.name], ns)
			}
		}
		return nil
	})
}

// checkRules reports rules that do not do what they are timed for: stop frames
// from and to a host that they do not allow.
func checkRules(t *traffic, r rules) error {
	for _, way := range []direction{fromVM, toVM} {
		frame, err := kind{way: way, peer: lanHost, size: 64}.frame(hidden4)
		if err != nil {
			return err
		}
		dropped, err := t.drops(way, frame)
		if err != nil {
			return err
		}
		if dropped != r.filters() {
			return fmt.Errorf("frames %s, of a host that is not allowed: dropped: %v, want %v", way, dropped, r.filters())
		}
	}
	return nil
}
