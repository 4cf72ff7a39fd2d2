package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/lab"
)

// A bridged is a hypervisor whose VM has a plain tap in a bridge, where connection tracking is.
type bridged struct {
	network *lab.Network
	traffic *traffic
	vm      vm
	inside  bool // the kernel tracks connections in bridges itself
}

// newBridged lays a network of its own, so that neither LAN's bridge has more ports than the other.
func newBridged(ctx context.Context, v vm) (_ *bridged, err error) {
	b := &bridged{vm: v}
	if b.network, err = lab.New(lab.Options{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	tap, err := b.network.AddBridgedTap("tap0", v.nics[0].MAC)
	if err != nil {
		return nil, err
	}
	if b.traffic, err = startTraffic(b.network, tap); err != nil {
		return nil, err
	}
	parent, err := b.network.Hypervisor.Links().LinkByName(b.network.Parent)
	if err != nil {
		return nil, err
	}
	b.traffic.counters = map[bench.Way]counter{
		bench.FromVM: {parent.Attrs().Index, passedOn},
		bench.ToVM:   {tap.Index, func(s *netlink.LinkStatistics) uint64 { return s.TxDropped }},
	}
	// Without the module nf_conntrack_bridge it is the older way, by IP's own hooks (br_netfilter).
	b.inside = b.nft(ctx, "table bridge try {\n chain c {\n ct state new accept\n }\n}\ndelete table bridge try\n") == nil
	return b, b.install(ctx, bench.Bridged)
}

// about says by what the kernel tracks connections.
func (b *bridged) about() bench.Fact {
	by := "by the bridge itself (nf_conntrack_bridge)"
	if !b.inside {
		by = "by IP's hooks (br_netfilter), since this kernel has no nf_conntrack_bridge"
	}
	return bench.Fact{Key: "conntrack", Value: by}
}

// install puts rules of that kind in place, none for Bridged, and forgets all connections.
func (b *bridged) install(ctx context.Context, kind string) error {
	if err := b.nft(ctx, "flush ruleset\n"); err != nil {
		return err
	}
	through := "0"
	if kind == bench.BridgedConntrack {
		if !b.inside {
			through = "1"
		}
		if err := b.nft(ctx, b.tracked()); err != nil {
			return err
		}
	}
	return b.network.Hypervisor.Do(func() error {
		for _, tables := range []string{"iptables", "ip6tables"} {
			err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+tables, []byte(through), 0)
			if err != nil && through == "1" {
				return fmt.Errorf("track connections of a bridge (modprobe nf_conntrack_bridge, or br_netfilter): %w", err)
			}
		}
		if kind == bench.Bridged {
			return nil
		}
		return netlink.ConntrackTableFlush(netlink.ConntrackTable)
	})
}

// tracked are the shell hook's two rules behind one for connections that stand. By IP's own
// hooks a frame's device is the bridge, and the VM is known by its address.
func (b *bridged) tracked() string {
	family, from, to := "bridge", "iifname tap0", "oifname tap0"
	if !b.inside {
		family, from, to = "inet", "ip saddr "+vm4.String(), "ip daddr "+vm4.String()
	}
	return fmt.Sprintf(`table %s %s {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		%[3]s ip daddr %[5]s accept
		%[3]s ip daddr 192.168.0.0/16 drop
		%[4]s ip saddr %[5]s accept
		%[4]s ip saddr 192.168.0.0/16 drop
	}
}
`, family, textTable, from, to, gateway4)
}

func (b *bridged) nft(ctx context.Context, text string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &said
	if err := b.network.Hypervisor.Run(cmd); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

func (b *bridged) close() error {
	var err error
	if b.traffic != nil {
		err = b.traffic.close()
	}
	return errors.Join(err, b.network.Close())
}
