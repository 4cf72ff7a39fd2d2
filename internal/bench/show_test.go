package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// some are results of a day on which everything took what is easy to reckon with.
func some() *Results {
	r := &Results{About: []Fact{{"kernel", "6.18"}, {"cpu", "a processor"}, {"cpus", "2"}, {"date", "2026-11-23"}}}
	for round := range 4 {
		busy := float64(round + 1) // the machine's other work, which ratios do not show
		for i, hook := range []string{EmptyGo, Ours, Shell, ShellMany} {
			for _, call := range HookCalls {
				r.Add(HookCall(call, hook, 1), Time, busy*float64(i+1)*1e6)
			}
		}
		r.Add(HookCall(FirstStart, Before, 1), Time, busy*8e6)
		r.Add(HookCall(NextStart, Ours, 1), Time, busy*1e6)
		r.Add(HookCall(NextStart, Before, 1), Time, busy*4e6)
		for _, f := range Frames {
			r.Add(PerFrame(f, Rules{Kind: Shell}), Time, busy*1000)
			for _, hosts := range hostCounts {
				r.Add(PerFrame(f, Rules{Ours, hosts}), Time, busy*1100)
				r.Add(PerFrame(f, Rules{Linear, hosts}), Time, busy*(1000+25*float64(hosts)))
			}
		}
		for _, n := range []int{0, 100, 1_000} {
			r.Add(Beside(Ours, n), Time, busy*8e6)
			r.Add(Beside(ShellMany, n), Time, busy*(20e6+1e6*float64(n)))
		}
		r.Add(AtOnce(Ours, 200), Time, busy*1e9)
		r.Add(AtOnce(Ours, 200), Failures, 0)
		r.Add(Command("verify --all", Ours, 1_000), Time, busy*2e9)
		r.Add(Command("verify --all", Before, 1_000), Time, busy*8e9)
		r.Add(Held(Rules{Kind: Shell}), Memory, 4<<10)
		r.Add(Held(Rules{Kind: Ours}), Memory, 160<<10)
		r.Add(Held(Rules{Kind: Before}), Memory, 320<<10)
		r.Add(Listing(ListRuleset, Ours, 1_000), Lines, 12_000)
		r.Add(Listing(ListTables, Ours, 1_000), CPU, 1e9)
		r.Add(Sent(Ours), Changes, 20)
		r.Add(Sent(Before), Changes, 200)
		r.Add(Guest(TCP, FromVM, Rules{Kind: Unfiltered}), Throughput, 1e9/busy)
		r.Add(Guest(TCP, FromVM, Rules{Kind: Ours}), Throughput, 9e8/busy)
	}
	r.Add(Listing(ListTables, Before, 1_000), CPU, 60e9)
	r.Add(Listing(ListTables, Before, 1_000), Ended, 1)
	return r
}

func TestMarkdown(t *testing.T) {
	text := some().Markdown()
	for _, want := range []string{
		"One run of `make bench` on 2026-11-23 (Linux 6.18, a processor, 2 processors):",
		"| first start | 0.67 (0.67–0.67) | 0.50 (0.50–0.50) | 0.25 (0.25–0.25) | 2.00 (2.00–2.00) | 5.0 (3.5–6.5) |",
		"| first start beside a VM of its policy | 0.33 (0.33–0.33) | 0.25 (0.25–0.25) | 0.25 (0.25–0.25) | 1.00 (1.00–1.00) | 2.5 (1.8–3.2) |",
		"| macvtap-filter, 10,000 | 1.10 (1.10–1.10) |",
		"| linear list, 1,000 | 26 (26–26) |",
		"| 200 first starts at once, all of them |  |  |  | 2500.0 (1750.0–3250.0), 0 failed |  |  |  |",
		"| verify --all |  |  | 0.25 (0.25–0.25) | 5000.0 (3500.0–6500.0) | 5.00 (3.50–6.50) |",
		"| macvtap-filter, 3 hosts allowed | 40 (40–40) | 0.50 (0.50–0.50) | 160 (160–160) |",
		"| lines of nft list ruleset, 1,000 VMs | 12,000 |  |  |",
		"| nft list tables, 1,000 VMs, ms | 1000.0 (1000.0–1000.0) | more than 60000.0 | less than 0.017 |",
		"| netlink messages that change rules | 20 | 200 | 0.10 (0.10–0.10) |",
		"| TCP from the VM | 417 (312–625) Mbit/s |  | 0.90 (0.90–0.90) |  |",
		"| a first start beside 1,000 protected NICs | 1.00 (1.00–1.00) |  |  | 20.0 (14.0–26.0) |  | 51 (51–51) |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "| "+TrafficControl) {
		t.Errorf("what was not measured is shown:\n%s", text)
	}
}

func TestPlots(t *testing.T) {
	pictures, err := some().Plots()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bench-starts.svg", "bench-frames.svg", "bench-scale.svg"} {
		svg := string(pictures[name])
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !strings.Contains(svg, ">"+Ours+"</text>") || !strings.Contains(svg, "sans-serif") {
			t.Errorf("%s: no word of us, or in a font that few have", name)
		}
		if strings.Contains(svg, "fill:#FFFFFF") || strings.Contains(svg, "fill:#000000") {
			t.Errorf("%s: white or black, which one of GitHub's themes swallows", name)
		}
	}
	if pictures, err := new(Results).Plots(); err != nil || len(pictures) != 0 {
		t.Errorf("of nothing there are %d pictures, %v", len(pictures), err)
	}
}

func TestUpdatePage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# before\n"+"<!-- bench -->\nold\n<!-- /bench -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := some().UpdatePage(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := "# before\n" + "<!-- bench -->\n" + some().Markdown() + "<!-- /bench -->\nafter\n"; string(text) != want {
			t.Errorf("wrote\n%s", text)
		}
	}
	if err := os.WriteFile(path, []byte("# no place\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := some().UpdatePage(path); err == nil {
		t.Error("no place, and no error")
	}
}
