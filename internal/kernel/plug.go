package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mdlayher/netlink"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/ruleset"
)

// Plugs gives the NICs that are closed since they are about to be plugged.
func Plugs(ctx context.Context) ([]filter.Plug, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	_, all, err := r.plugs()
	return all, err
}

// Plug closes a NIC that is about to be plugged, on a device whose name begins with one of the
// prefixes, until rules of its own stand. The error is ErrNoGuard where the kernel cannot. The
// caller holds the lock.
func Plug(ctx context.Context, prefixes []string, plug filter.Plug) error {
	return changePlugs(ctx, func(all []filter.Plug) ([]string, []filter.Plug) {
		all = slices.DeleteFunc(all, func(p filter.Plug) bool { return bytes.Equal(p.MAC, plug.MAC) })
		return prefixes, append(all, plug)
	})
}

// Unplug opens those that are wanted, and removes the table when no other is left. The caller
// holds the lock.
func Unplug(ctx context.Context, which func(filter.Plug) bool) error {
	return changePlugs(ctx, func(all []filter.Plug) ([]string, []filter.Plug) { return nil, slices.DeleteFunc(all, which) })
}

func changePlugs(ctx context.Context, to func([]filter.Plug) ([]string, []filter.Plug)) error {
	r, err := dialReader(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	return r.changePlugs(ctx, to)
}

func (r *reader) changePlugs(ctx context.Context, to func([]filter.Plug) ([]string, []filter.Plug)) error {
	prefixes, before, err := r.plugs()
	if err != nil {
		return err
	}
	other, all := to(slices.Clone(before))
	switch {
	case len(all) == len(before) && other == nil:
		return nil
	case len(all) == 0:
		err = commit(r.conn, []netlink.Message{deleteNamed(ruleset.PlugTable)})
		if errors.Is(err, unix.ENOENT) {
			return nil // somebody else was faster
		}
		return err
	case other != nil:
		prefixes = other
	}
	table, err := Spell(ctx, filter.Plugs(prefixes, all)) // an older nft would list it for ever otherwise
	if err != nil {
		return err
	}
	return raise(r.conn, table, 0)
}

// plugs reads the table. Where there is none it asks once, and there is none but while a NIC is
// plugged.
func (r *reader) plugs() (prefixes []string, all []filter.Plug, err error) {
	p := &picture{reader: r, name: ruleset.PlugTable, named: attribute(unix.NFTA_TABLE_NAME, cString(ruleset.PlugTable))}
	if err := p.header(); err != nil {
		return nil, nil, fmt.Errorf("look for nftables' table %q: %w", ruleset.PlugTable, err)
	}
	if !p.stands {
		return nil, nil, nil
	}
	if p, err = r.take(ruleset.PlugTable, (*picture).all); err != nil || !p.stands {
		return nil, nil, err
	}
	prefixes, all = filter.ParsePlugs(p.table())
	return prefixes, all, nil
}

// unplug opens the NICs whose rules stand now.
func (r *reader) unplug(ctx context.Context, tables []ruleset.Table) error {
	var stand []net.HardwareAddr
	for _, t := range tables {
		stand = append(stand, filter.MACs(t)...)
	}
	if len(stand) == 0 {
		return nil
	}
	err := r.changePlugs(ctx, func(all []filter.Plug) ([]string, []filter.Plug) {
		return nil, slices.DeleteFunc(all, func(p filter.Plug) bool {
			return slices.ContainsFunc(stand, func(mac net.HardwareAddr) bool { return bytes.Equal(mac, p.MAC) })
		})
	})
	if err != nil {
		return fmt.Errorf("open what was closed until rules stand: %w (the rules are in place)", err)
	}
	return nil
}
