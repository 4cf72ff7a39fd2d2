package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/google/nftables"
)

// tablePrefix begins the names of the binary's tables; the device's follows.
const tablePrefix = "macvtap-filter-"

// tables gives the names of the tables that the hypervisor's kernel holds for
// network devices.
func (h *hook) tables() ([]string, error) {
	var names []string
	err := h.netfilter(func(conn *nftables.Conn) error {
		tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
		for _, table := range tables {
			names = append(names, table.Name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	return names, nil
}

// showRules prints the first VM's rules: as nft lists them, or as the binary
// prints them where there is no nft.
func (h *hook) showRules(ctx context.Context, out *printer, vms []*vm) error {
	names, err := h.tables()
	if err != nil {
		return err
	}
	first := vms[0]
	if nft, err := findNFT(); err == nil {
		text, err := h.run(ctx, nil, nft, "list", "table", "netdev", tablePrefix+first.device)
		if err != nil {
			return fmt.Errorf("nft list: %w", err)
		}
		out.command("nft list table netdev "+tablePrefix+first.device, "")
		out.code(text)
	} else {
		xml, err := h.domain(first, true)
		if err != nil {
			return err
		}
		text, err := h.run(ctx, xml, h.binary, "render", "-")
		if err != nil {
			return fmt.Errorf("render: %w", err)
		}
		out.command(filepath.Base(h.binary)+" render - <"+first.name+".xml", "what nft would list, if it were installed")
		out.code(text)
	}
	out.printf("The kernel holds one table a device: %s.\n", list(names))
	return nil
}

// findNFT finds the nft program, also where root's PATH lacks it.
func findNFT() (string, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nft")
	}
	return path, err
}

// A count is what a counter says.
type count struct{ packets, bytes uint64 }

// counts gives the counters of a VM's table by name.
func (h *hook) counts(v *vm) (map[string]count, error) {
	counts := make(map[string]count)
	err := h.netfilter(func(conn *nftables.Conn) error {
		table := &nftables.Table{Name: tablePrefix + v.device, Family: nftables.TableFamilyNetdev}
		objects, err := conn.GetObjects(table)
		for _, object := range objects {
			if counter, ok := object.(*nftables.CounterObj); ok {
				counts[counter.Name] = count{counter.Packets, counter.Bytes}
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the counters of %s: %w", v.device, err)
	}
	return counts, nil
}

// showCounters prints the reasons for which something was dropped, and how much.
func (h *hook) showCounters(out *printer, vms []*vm) error {
	var perVM []map[string]count
	reasons := make(map[string]bool)
	for _, vm := range vms {
		counts, err := h.counts(vm)
		if err != nil {
			return err
		}
		perVM = append(perVM, counts)
		for reason, c := range counts {
			reasons[reason] = reasons[reason] || c.packets > 0
		}
	}
	var used, idle []string
	for reason, counted := range reasons {
		if counted {
			used = append(used, reason)
		} else {
			idle = append(idle, reason)
		}
	}
	slices.Sort(used)
	slices.Sort(idle)
	out.countTable(vms, used, perVM)
	if len(idle) > 0 {
		out.printf("Nothing was dropped as %s.\n", list(idle))
	}
	return nil
}

// netfilter runs f with a connection to the hypervisor's nftables.
func (h *hook) netfilter(f func(*nftables.Conn) error) error {
	return h.hypervisor.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		return f(conn)
	})
}

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
