package judge_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/judge"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// field holds frames that were met in the field or used by attackers, and a table of
// what should become of each under which rules: testdata/field/README.md.
const field = "../../testdata/field"

// A met is one line of the table.
type met struct {
	line               string
	passes             bool
	hook               ruleset.HookType
	frame              []byte
	config, facts, xml string
}

func fieldTable(t *testing.T) []met {
	t.Helper()
	text := read(t, "table")
	var all []met
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 4 {
			t.Fatalf("%s/table, line %d: %q", field, n+1, line)
		}
		m := met{line: strings.Join(words, " "), passes: words[0] == "passes", hook: ruleset.Egress, config: words[3] + ".toml", facts: "facts.json", xml: "domain.xml"}
		if words[1] == "in" {
			m.hook = ruleset.Ingress
		}
		if len(words) > 4 {
			m.facts = words[4]
		}
		if len(words) > 5 {
			m.xml = words[5]
		}
		var err error
		if m.frame, err = hex.DecodeString(strings.TrimSpace(read(t, "frames/"+words[2]+".hex"))); err != nil {
			t.Fatalf("%s: %v", words[2], err)
		}
		all = append(all, m)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(field, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tables are the rules under which a frame is judged.
func (m met) tables() ([]ruleset.Table, error) {
	xml, err := os.Open(filepath.Join(field, m.xml))
	if err != nil {
		return nil, err
	}
	defer xml.Close()
	d, err := domain.Parse(xml)
	if err != nil {
		return nil, err
	}
	d.Complete()
	c, err := config.Load(filepath.Join(field, "config", m.config))
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(field, m.facts))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	known, err := facts.Read(file)
	if err != nil {
		return nil, err
	}
	made, err := plan.Make(d, c, plan.Recorded(known))
	return made.Tables, err
}

// TestFieldJudged has the judge say what the table says of each frame.
func TestFieldJudged(t *testing.T) {
	for _, m := range fieldTable(t) {
		made, err := m.tables()
		if err != nil {
			t.Errorf("%s: %v", m.line, err)
			continue
		}
		d, err := judge.New(made[0]).Frame(m.hook, m.frame)
		if err != nil {
			t.Errorf("%s: %v", m.line, err)
			continue
		}
		if d.Passes != m.passes {
			t.Errorf("%s: passes: %v, by rule %d of %s: %s", m.line, d.Passes, d.Number, strings.Join(d.Path, " → "), d.Rule)
		}
	}
}

// TestFieldOnTheWire sends each frame, from the VM or to it, through rules that nothing
// was sent through before: what the table says arrives, and nothing else.
func TestFieldOnTheWire(t *testing.T) {
	all := fieldTable(t)
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	tap, err := n.AddMacvtap("macvtap0", fieldMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tap.Open(), tap.Up()); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		made, err := m.tables()
		if err == nil {
			err = n.Hypervisor.Do(func() error { return afresh(made) })
		}
		if err != nil {
			t.Errorf("%s: %v", m.line, err)
			continue
		}
		if err := listen(n, tap, m); err != nil {
			t.Fatal(err)
		}
		arrived := send(t, n, tap, m.hook, [][]byte{m.frame})[string(m.frame)]
		if arrived != m.passes {
			t.Errorf("%s: arrived: %v", m.line, arrived)
		}
	}
}

// listen gives the device the MAC address that a frame to the VM is for, as a guest can
// have it done (trustGuestRxFilters), so that nothing but the rules is in its way.
func listen(n *lab.Network, tap *lab.Tap, m met) error {
	mac := net.HardwareAddr(fieldMAC)
	if m.hook == ruleset.Ingress && m.frame[0]&1 == 0 {
		mac = m.frame[:6]
	}
	link, err := n.Hypervisor.Links().LinkByIndex(tap.Index)
	if err != nil || bytes.Equal(link.Attrs().HardwareAddr, mac) {
		return err
	}
	return n.Hypervisor.Links().LinkSetHardwareAddr(link, mac)
}

// fieldMAC is the VM's in the table's domain XML.
var fieldMAC = []byte{0x52, 0x54, 0x00, 0xaa, 0xbb, 0x01}

// afresh programs tables in the place of all others, with nothing learned.
func afresh(made []ruleset.Table) error {
	ctx := context.Background()
	if _, err := kernel.Remove(ctx, func(kernel.Standing) bool { return true }); err != nil {
		return fmt.Errorf("remove the rules before: %w", err)
	}
	return kernel.Create(ctx, made)
}
