package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"macvtap-filter/internal/bench"
)

// timeFrames times each kind of frame under each ruleset, round by round, all on
// one device.
func timeFrames(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	s, err := newSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	v := newVM("web", 1, 1)
	tap, err := s.network.AddMacvtap(v.nics[0].Device, v.nics[0].MAC)
	if err != nil {
		return err
	}
	t, err := startTraffic(s.network, tap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	all, err := s.allRules(o.sizes.hosts, v, tap)
	if err != nil {
		return err
	}
	defer func() {
		for _, r := range all {
			err = errors.Join(err, r.close())
		}
	}()
	for round := range rounds {
		for turn := range all {
			// No ruleset always comes after the same other.
			r := all[(turn+round)%len(all)]
			if err := s.install(ctx, tap, r); err != nil {
				return fmt.Errorf("%s: %w", r.Kind, err)
			}
			if err := t.underRules(ctx, o.sizes.slice, r, out); err != nil {
				return fmt.Errorf("%s, %d hosts allowed: %w", r.Kind, r.Hosts, err)
			}
		}
	}
	return nil
}

// underRules times all kinds of frames under the rules that stand.
func (t *traffic) underRules(ctx context.Context, slice time.Duration, r rules, out *bench.Results) error {
	if err := t.checkRules(r); err != nil {
		return err
	}
	return onProcessor(func() error {
		// The first one is only for warming up: caches are cold, and the kernel
		// may still be freeing the rules before these.
		for i, f := range append(bench.Frames[:1:1], bench.Frames...) {
			if err := ctx.Err(); err != nil {
				return err
			}
			frame, err := build(f, t.tap.MAC, r.allowed)
			if err != nil {
				return err
			}
			ns, err := t.round(f.Way, frame, slice)
			if err != nil {
				return fmt.Errorf("%s, %s, %s, %d bytes: %w", f.Peer, f.Way, f.Family(), f.Size, err)
			}
			if i > 0 {
				out.Add(bench.PerFrame(f, r.Rules), bench.Time, ns)
			}
		}
		return nil
	})
}

// checkRules reports rules that do not do what they are timed for: stop frames
// from and to a host that they do not allow.
func (t *traffic) checkRules(r rules) error {
	for _, way := range []bench.Way{bench.FromVM, bench.ToVM} {
		frame, err := build(bench.Frame{Way: way, Peer: bench.LANHost, Size: 64}, t.tap.MAC, hidden4)
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
