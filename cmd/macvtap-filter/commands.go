package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// commands lists the words of the command line.
func commands() []command {
	none := func(*flag.FlagSet, *options) {}
	changes := func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.dryRun, "dry-run", false, "")
		f.BoolVar(&o.all, "all", false, "")
		deviceFlag(f, o)
	}
	previews := func(f *flag.FlagSet, o *options) {
		changes(f, o)
		f.BoolVar(&o.diff, "diff", false, "")
	}
	applies := func(f *flag.FlagSet, o *options) {
		previews(f, o)
		f.BoolVar(&o.json, "json", false, "")
		f.IntVar(&o.confirm, "confirm", -1, "")
		f.BoolVar(&o.confirmed, "confirmed", false, "")
	}
	verifies := func(f *flag.FlagSet, o *options) {
		changes(f, o)
		f.BoolVar(&o.repair, "repair", false, "")
		f.BoolVar(&o.json, "json", false, "")
	}
	shows := func(f *flag.FlagSet, o *options) {
		f.Var(&o.interval, "watch", "")
		f.BoolVar(&o.json, "json", false, "")
	}
	binds := func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.json, "json", false, "")
		f.BoolVar(&o.bind, "bind", false, "")
		f.BoolVar(&o.forget, "forget", false, "")
	}
	follows := func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.follow, "follow", false, "")
		f.DurationVar(&o.long, "for", 0, "")
		f.BoolVar(&o.json, "json", false, "")
	}
	renders := func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.format, "format", "nft", "")
		f.StringVar(&o.facts, "facts", "", "")
		f.StringVar(&o.check, "check", "", "")
		f.StringVar(&o.old, "diff", "", "")
		f.StringVar(&o.output, "output", "", "")
		f.StringVar(&o.codeQuality, "code-quality", "", "")
	}
	tests := func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.facts, "facts", "", "")
		f.BoolVar(&o.json, "json", false, "")
	}
	return []command{
		{"apply", applyUsage, applies, apply},
		{"remove", removeUsage, previews, remove},
		{"log", logUsage, follows, showLog},
		{"verify", verifyUsage, verifies, verify},
		{"addresses", addressesUsage, binds, addresses},
		{"status", statusUsage, shows, showStatus},
		{"render", renderUsage, renders, render},
		{"explain", explainUsage, explainFlags, explain},
		{"reach", reachUsage, reachFlags, showReach},
		{"test", testUsage, tests, runTests},
		{"metrics", metricsUsage, func(f *flag.FlagSet, o *options) { f.StringVar(&o.textfile, "textfile", "", "") }, printMetrics},
		{"facts", factsUsage, none, printFacts},
		{"check", checkUsage, func(f *flag.FlagSet, o *options) { f.BoolVar(&o.json, "json", false, "") }, check},
		{"watch", watchUsage, func(f *flag.FlagSet, o *options) { f.StringVar(&o.listen, "listen", "", "") }, watchHost},
		{"version", versionUsage, none, version},
		{"complete", completeUsage, none, complete},
	}
}

// wantVMs checks the arguments of commands that take VM… | --all.
func wantVMs(o options, args []string) error {
	switch {
	case o.all && len(args)+len(o.devices) > 0:
		return badInput(errors.New("give either VMs or --all"))
	case !o.all && len(args)+len(o.devices) == 0:
		return badInput(errors.New("name the VMs, or give --all"))
	}
	return nil
}

func wantNone(args []string) error {
	if len(args) > 0 {
		return badInput(fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

// release is the version that the Makefile and the packages build; "" leaves it to go.
var release string

// built gives the version that the program was built as, "" where nothing says.
func built() string {
	if info, ok := debug.ReadBuildInfo(); ok && release == "" {
		return info.Main.Version
	}
	return release
}

func version(_ context.Context, std streams, _ options, args []string) error {
	if err := wantNone(args); err != nil {
		return err
	}
	name := built()
	if name == "" {
		return errors.New("the binary was built without its version")
	}
	fmt.Fprintf(std.out, "macvtap-filter %s (%s)\n", name, runtime.Version())
	return nil
}
