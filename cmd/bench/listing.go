package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"macvtap-filter/internal/bench"
)

// timeListing tells what the rules of many VMs are to whoever lists rules with nft:
// lines, and time. And it counts what a start sends to the kernel.
func timeListing(ctx context.Context, o options, rounds int, out *bench.Results) error {
	version, err := exec.CommandContext(ctx, "nft", "--version").Output()
	if err != nil {
		return fmt.Errorf("nft --version: %w", err)
	}
	out.About = append(out.About, bench.Fact{Key: "nft", Value: strings.TrimSpace(string(version))})
	for _, n := range o.sizes.listed {
		if err := listBeside(ctx, o, n, rounds, out); err != nil {
			return err
		}
	}
	return nil
}

func listBeside(ctx context.Context, o options, n, rounds int, out *bench.Results) (err error) {
	crowds, err := newCrowds(ctx, o, []int{n}, bench.Ours, bench.Before)
	defer func() { err = errors.Join(err, crowds.close()) }()
	if err != nil {
		return err
	}
	for range rounds {
		for _, call := range bench.Listings {
			for _, c := range crowds {
				if err := c.list(call, o.sizes.listTime, out); err != nil {
					return fmt.Errorf("%s, %d VMs: %w", c.own.name, n, err)
				}
			}
		}
	}
	if n > 1 {
		return nil
	}
	for _, c := range crowds {
		if err := errors.Join(c.trace(out), c.stop()); err != nil {
			return fmt.Errorf("%s: %w", c.own.name, err)
		}
	}
	return nil
}

// list has nft list rules, and ends it after so many seconds of a processor's time: what
// was too long once is not tried again.
func (c *crowd) list(call string, seconds int, out *bench.Results) error {
	name := bench.Listing(call, c.own.name, len(c.vms))
	if len(out.Of(name, bench.Ended)) > 0 {
		return nil
	}
	file := filepath.Join(c.folder, "listed")
	bounded := fmt.Sprintf(`ulimit -S -t %d; exec nft %s >"$0"`, seconds, call)
	took, err := c.runner.time(job{Args: []string{"/bin/sh", "-ec", bounded, file}, Env: c.own.env})
	ended := err != nil && strings.Contains(err.Error(), syscall.SIGXCPU.String())
	if err != nil && !ended {
		return err
	}
	out.Add(name, bench.CPU, float64(took.CPU))
	if ended {
		out.Add(name, bench.Ended, 1)
		return nil
	}
	text, err := os.ReadFile(file)
	out.Add(name, bench.Lines, float64(bytes.Count(text, []byte("\n"))))
	return err
}

// Messages to nftables, as strace writes them.
var (
	anyMessage = regexp.MustCompile(`NFNL_SUBSYS_NFTABLES<<8\|`)
	change     = regexp.MustCompile(`NFNL_SUBSYS_NFTABLES<<8\|NFT_MSG_(NEW|DEL)`)
)

// trace counts what one more VM's start sends.
func (c *crowd) trace(out *bench.Results) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return err
	}
	file := filepath.Join(c.folder, "trace")
	start := c.own.call(bench.NextStart, c.next, c.network.Parent)
	start.Args = append([]string{strace, "-f", "-qq", "-v", "-s", "1000000", "-e", "trace=sendto,sendmsg", "-o", file, "--"}, start.Args...)
	if _, err := c.runner.time(start); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := bench.Sent(c.own.name)
	out.Add(name, bench.Messages, float64(len(anyMessage.FindAll(text, -1))))
	out.Add(name, bench.Changes, float64(len(change.FindAll(text, -1))))
	return nil
}
