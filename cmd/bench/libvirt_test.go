package main

import (
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/ruleset"
)

// A VM whose device is gone is told of, and keeps none of those from their rules that
// share its transaction.
func TestApplyAllWithOneWrong(t *testing.T) {
	needRoot(t)
	s, err := newSite()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, s.close()) }()
	hooks, err := s.makeHooks(options{binary: program(t)})
	if err != nil {
		t.Fatal(err)
	}
	vms := newVMs(20)
	if err := s.plug(append(vms[:7:7], vms[8:]...)...); err != nil {
		t.Fatal(err)
	}
	l, err := s.startLibvirt(t.Context(), vms)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, l.close()) }()
	r, err := s.startRunner(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, r.close()) }()

	_, err = r.time(hooks[bench.Ours].command("apply", "--all"))
	if err == nil || !strings.Contains(err.Error(), vms[7].name) {
		t.Errorf("no word of %s, whose device is gone: %v", vms[7].name, err)
	}
	chains, err := s.nft(t.Context(), "", "list", "table", "netdev", ruleset.RulesTable)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vms {
		if got := strings.Contains(chains, "chain "+ruleset.BaseName("from-vm", v.nics[0].Device)+" {\n"); got != (i != 7) {
			t.Errorf("%s has rules: %t", v.name, got)
		}
	}
	if _, err := r.time(hooks[bench.Ours].call(bench.Stop, vms[0], s.network.Parent)); err != nil {
		t.Error(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("NOT RUN: root is needed, and CI must not skip")
	}
	t.Skip("NOT RUN: network namespaces need root")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
