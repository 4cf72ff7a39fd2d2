package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/policytest"
)

const testUsage = `usage: macvtap-filter test [FILE…] [--facts FILE] [--json]

Says whether the rules that a configuration makes keep its [[test]] sections, for all
addresses and ports of their entries. Nothing is sent, and nothing is asked of the kernel's
rules. apply, watch and the hook take no configuration that breaks one.

  FILE…            other configuration files than the one in force
  --facts FILE     what "macvtap-filter facts PARENT" printed on the host, on another
                   machine; without it and a parent, a network like others, of
                   addresses that documents use, stands for the host's
  --json           as JSON

It exits with 1 where a test does not hold, and says which entry, a frame, the rule and the
line of the configuration that decide.

example: macvtap-filter test new.toml --facts host.json
`

// A testForm is what "test --json" prints of a test on one parent.
type testForm struct {
	File   string   `json:"file"`
	Line   string   `json:"line"` // the file and line of the test
	Test   string   `json:"test"`
	Parent string   `json:"parent"`
	Policy string   `json:"policy"`
	Holds  bool     `json:"holds"`
	Broken []string `json:"broken"`          // why entries do not hold
	Error  string   `json:"error,omitempty"` // why it is not decided
}

// runTests decides the tests of configuration files.
func runTests(ctx context.Context, std streams, o options, args []string) error {
	files := args
	if len(files) == 0 {
		files = []string{o.config}
	}
	forms := []testForm{}
	var broken []error
	for _, file := range files {
		some, err := testsOf(ctx, std, o, file)
		forms = append(forms, some...)
		if err != nil && len(some) == 0 {
			return err
		}
		broken = append(broken, err)
	}
	if o.json {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		if err := out.Encode(forms); err != nil {
			return err
		}
	}
	return errors.Join(broken...)
}

// testsOf decides those of one file; an error is told by the caller.
func testsOf(ctx context.Context, std streams, o options, file string) ([]testForm, error) {
	c, err := config.Load(file)
	if err != nil {
		return nil, badInput(err)
	}
	if len(c.Tests()) == 0 {
		notef(std, "%s: no [[test]] section: nothing was tested", file)
		return nil, nil
	}
	known, err := testFacts(ctx, o, c)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		f := policytest.Somewhere(c.Parents[0])
		notef(std, "%s: no parent is here, and no --facts: decided for a network like others, %v, gateway %v, dns %v, broadcast %v", file, f.OnLink, f.Gateway, f.DNS, f.Broadcast)
	}
	for _, f := range known {
		for _, word := range policytest.Nobody(c, f) {
			warningf(std, "%s: %q stands for nobody on %q: entries of tests with it say nothing there", file, word, f.Parent)
		}
	}
	results, err := policytest.Check(c, known)
	var out []testForm
	for _, r := range results {
		f := testForm{file, c.Where(r.Test), r.Test.String(), r.Parent, r.Policy, len(r.Broken) == 0 && r.Err == nil, []string{}, ""}
		if r.Err != nil {
			f.Error, err = r.Err.Error(), errors.Join(err, r.Err)
		}
		for _, b := range r.Broken {
			f.Broken = append(f.Broken, b.Text)
		}
		if out = append(out, f); !o.json {
			f.print(std.out)
		}
	}
	return out, err
}

// testFacts gives the facts of the parents: those that were recorded, or this host's.
func testFacts(ctx context.Context, o options, c *config.Config) ([]facts.Facts, error) {
	if o.facts == "" {
		return parentsFacts(ctx, c)
	}
	network, err := renderNetwork(ctx, o)
	if err != nil {
		return nil, err
	}
	var out []facts.Facts
	recorded, _ := network.(plan.Recorded)
	for _, f := range recorded {
		if c.GuardsParent(append(f.Names, f.Parent)...) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, badInput(fmt.Errorf("%s: it has no facts of a parent (%s)", o.facts, strings.Join(c.Parents, ", ")))
	}
	return out, nil
}

func (f testForm) print(w io.Writer) {
	word := map[bool]string{true: "ok", false: "FAILED"}[f.Holds]
	fmt.Fprintf(w, "%-6s %s: test %s, policy %q on %q\n", word, f.Line, f.Test, f.Policy, f.Parent)
}
