package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/google/nftables"
)

// rulesTable is the binary's table.
const rulesTable = "macvtap-filter"

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

// showRules prints the VMs' rules as nft lists them, or the first VM's as the binary prints
// them where there is no nft.
func (h *hook) showRules(ctx context.Context, out *printer, vms []*vm) error {
	names, err := h.tables()
	if err != nil {
		return err
	}
	first := vms[0]
	if nft, err := findNFT(); err == nil {
		text, err := h.run(ctx, nil, nft, "list", "table", "netdev", rulesTable)
		if err != nil {
			return fmt.Errorf("nft list: %w", err)
		}
		out.command("nft list table netdev "+rulesTable, "")
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
	out.printf("The kernel holds all VMs' rules in one table: %s.\n", list(names))
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
