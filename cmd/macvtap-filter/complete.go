package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/patience"
)

// complete prints what may stand in the place of the last of the words, one a line,
// with what it is after a tab; the shells' completions ask it (internal/packaging).
// It prints nothing where a file may stand, or anything. The rest of a line may be
// typed already, so it shows nothing of what stands before but once.
func complete(ctx context.Context, std streams, _ options, words []string) error {
	if len(words) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience.Names)
	defer cancel()
	before, word := words[:len(words)-1], words[len(words)-1]
	for _, candidate := range candidates(ctx, before, word) {
		fmt.Fprintln(std.out, candidate)
	}
	return nil
}

// candidates gives what may follow the words before, given how the next begins.
func candidates(ctx context.Context, before []string, word string) []string {
	at := slices.IndexFunc(before, isCommand)
	if at < 0 {
		if endsWith(before, "--config") {
			return nil
		}
		return beginning(word, commandNames())
	}
	c, _ := findCommand(before[at])
	shape, _, _ := strings.Cut(c.usage, "\n")
	if value, ok := valueWanted(c, before[at+1:]); ok {
		switch {
		case strings.Contains(value, "|"):
			return beginning(word, strings.Split(value, "|"))
		case value == "VM":
			return beginning(word, runningVMs(ctx))
		case value == "DEV":
			return beginning(word, macvtaps())
		}
		return nil
	}
	switch {
	case strings.HasPrefix(word, "-"):
		return beginning(word, flagsOf(c))
	case strings.Contains(shape, "VM…"):
		names := runningVMs(ctx)
		if strings.Contains(shape, "--all") {
			names = append(names, "--all\tevery running VM")
		}
		return beginning(word, unused(before[at+1:], names))
	case strings.HasPrefix(shape, "usage: macvtap-filter reach VM"):
		return beginning(word, unused(before[at+1:], runningVMs(ctx)))
	case strings.Contains(shape, "PARENT…"):
		return beginning(word, unused(before[at+1:], devices()))
	case strings.Contains(shape, "FILE |"):
		return nil
	}
	return beginning(word, flagsOf(c))
}

// The help texts are where the words come from. A hook call compiles no pattern.
const (
	// A command: its name, its arguments, and what it does.
	commandLine = `(?m)^  ([a-z]+) (?:.*\S)?  +(\S.*)$`
	// A flag: its name, its value's, and what it does.
	flagLine = `(?m)^  --([a-z-]+)(?: [^ \n]+|\[=[^ \n]+)?  +(\S.*)$`
)

// described gives the names and descriptions that a pattern finds in a help text.
func described(pattern, text string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// commandNames gives the commands and what they do.
func commandNames() []string {
	said := described(commandLine, usage)
	var out []string
	for _, c := range commands() {
		if about := said[c.name]; about != "" {
			out = append(out, c.name+"\t"+about)
		}
	}
	return append(out, "--config", "--help", "--version")
}

// flagsOf gives the flags of a command, with what its help says of them.
func flagsOf(c command) []string {
	said := described(flagLine, c.usage)
	out := []string{"--help\tsay what it does"}
	flagSet(c).VisitAll(func(f *flag.Flag) {
		text := "--" + f.Name
		if about := said[f.Name]; about != "" {
			text += "\t" + about
		}
		out = append(out, text)
	})
	return out
}

// valueWanted gives the value that the flag before the word wants, as the command's
// help calls it.
func valueWanted(c command, before []string) (string, bool) {
	if len(before) == 0 {
		return "", false
	}
	name := strings.TrimLeft(before[len(before)-1], "-")
	f := flagSet(c).Lookup(name)
	if f == nil || !strings.HasPrefix(before[len(before)-1], "-") {
		return "", false
	}
	m := regexp.MustCompile(`--` + regexp.QuoteMeta(name) + ` ([^\s\],]+)`).FindStringSubmatch(c.usage)
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		vm := m != nil && m[1] == "VM" // not its value, but behind it all the same
		return "VM", vm
	}
	if m == nil {
		return "", true
	}
	return strings.TrimSuffix(m[1], "…"), true
}

func flagSet(c command) *flag.FlagSet {
	var o options
	flags := newFlags(c.name)
	configFlag(flags, &o)
	c.flags(flags, &o)
	return flags
}

// runningVMs gives the names of the running VMs.
func runningVMs(ctx context.Context) []string {
	client, err := libvirt.Dial(ctx)
	if err != nil {
		return nil
	}
	defer client.Close()
	names, err := client.Running(ctx)
	if err != nil {
		return nil
	}
	// Lines are how they travel.
	return slices.DeleteFunc(names, func(name string) bool { return strings.ContainsAny(name, "\n\t") })
}

// devices gives the network devices.
func devices() []string {
	entries, _ := os.ReadDir("/sys/class/net")
	var out []string
	for _, e := range entries {
		if name := e.Name(); name != "lo" {
			out = append(out, name)
		}
	}
	return out
}

// macvtaps gives the macvtap devices: those that have such a folder
// (drivers/net/macvtap.c, macvtap_link_event).
func macvtaps() []string {
	return slices.DeleteFunc(devices(), func(name string) bool {
		_, err := os.Stat("/sys/class/net/" + name + "/macvtap")
		return err != nil
	})
}

// unused leaves out what stands on the line already.
func unused(before, all []string) []string {
	return slices.DeleteFunc(all, func(c string) bool {
		name, _, _ := strings.Cut(c, "\t")
		return slices.Contains(before, name)
	})
}

func beginning(word string, all []string) []string {
	return slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, word) })
}

func endsWith(words []string, last string) bool {
	return len(words) > 0 && words[len(words)-1] == last
}
