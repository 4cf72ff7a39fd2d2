package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/bench"
)

// A section measures one kind of thing, and adds it to the results.
type section struct {
	name    string
	about   string
	rounds  int // how often, unless told otherwise
	measure func(ctx context.Context, o options, rounds int, out *bench.Results) error
	needs   map[string]string // programs, and the packages that have them
}

var shellNeeds = map[string]string{"nft": "nftables", "xmlstarlet": "xmlstarlet"}

var listNeeds = map[string]string{"nft": "nftables", "strace": "strace"}

var guestNeeds = map[string]string{
	"nft": "nftables", "iperf3": "iperf3", "qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "depmod": "kmod",
}

// sections are all of them, in the order in which they are measured.
var sections = []section{
	{"start", "a hook call as a whole process (40 s)", 40, timeStarts, shellNeeds},
	{"frames", "time per frame under several rulesets (2 min)", 15, timeFrames, shellNeeds},
	{"scale", "starts beside many others and at once, commands over all VMs (6 min)", 3, timeScale, shellNeeds},
	{"memory", "what the kernel holds for one more NIC (2 min)", 2, timeMemory, shellNeeds},
	{"flows", "segments of TCP connections, and memory for flows, beside connection tracking (2 min)", 15, timeFlows, shellNeeds},
	{"listing", "what nft lists, and what a start sends to the kernel (5 min)", 2, timeListing, listNeeds},
	{"guests", "iperf3 and ping of a real guest (2 min)", 4, timeGuests, guestNeeds},
}

func sectionUsage() string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "  %-8s %s\n", s.name, s.about)
	}
	return b.String()
}

func knownSections(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == name }) {
			return fmt.Errorf("there is no section %q", name)
		}
	}
	return nil
}

// measureAndShow measures, or reads what was measured, and shows it.
func measureAndShow(ctx context.Context, o options, stdout *os.File, stderr io.Writer) error {
	results, err := o.results(ctx, stderr)
	if err != nil {
		return err
	}
	printTables(results, stdout)
	if !o.update {
		return nil
	}
	if missing := results.Missing(); len(missing) > 0 {
		return fmt.Errorf("--update writes a page of one whole run, and this one has no %s", strings.Join(missing, ", no "))
	}
	return errors.Join(results.UpdatePage("internal/doc/measurements.md"), results.WritePlots("internal/doc"))
}

func (o options) results(ctx context.Context, stderr io.Writer) (*bench.Results, error) {
	if o.from == "" {
		return o.measure(ctx, stderr)
	}
	file, err := os.Open(o.from)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return bench.Read(file, o.from)
}

// measure measures the sections that are asked for. What was measured before one
// failed is in the file of results, too.
func (o options) measure(ctx context.Context, stderr io.Writer) (_ *bench.Results, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces and tap devices need root: run it with sudo")
	}
	if o.binary, err = need(o.binary); err != nil {
		return nil, err
	}
	if o.before != "" {
		if o.before, err = need(o.before); err != nil {
			return nil, err
		}
	}
	wanted := slices.DeleteFunc(slices.Clone(sections), func(s section) bool {
		return o.only != nil && !slices.Contains(o.only, s.name)
	})
	for _, s := range wanted {
		if err := needPrograms(s.needs); err != nil {
			return nil, err
		}
	}
	results := &bench.Results{About: aboutMachine()}
	if o.out != "" {
		// The last run's stay until there are others.
		file, err := os.CreateTemp(filepath.Dir(o.out), filepath.Base(o.out)+".")
		if err != nil {
			return nil, err
		}
		defer func() {
			err = errors.Join(err, results.Write(file), file.Chmod(0o644), file.Close(), os.Rename(file.Name(), o.out))
		}()
	}
	for _, s := range wanted {
		rounds := s.rounds
		if o.rounds > 0 {
			rounds = o.rounds
		}
		begin := time.Now()
		if err := s.measure(ctx, o, rounds, results); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(stderr, "bench: %s: %d rounds in %.0f s\n", s.name, rounds, time.Since(begin).Seconds())
	}
	return results, nil
}

// aboutMachine are the facts that benchstat shows, and the day.
func aboutMachine() []bench.Fact {
	return []bench.Fact{
		{Key: "goos", Value: runtime.GOOS}, {Key: "goarch", Value: runtime.GOARCH},
		{Key: "pkg", Value: "macvtap-filter/cmd/bench"},
		{Key: "cpu", Value: processor()}, {Key: "cpus", Value: fmt.Sprint(runtime.NumCPU())},
		{Key: "kernel", Value: kernelRelease()}, {Key: "date", Value: time.Now().Format(time.DateOnly)},
	}
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // only for the record
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return "unknown"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}
