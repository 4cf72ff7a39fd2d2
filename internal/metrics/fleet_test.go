package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/libvirt/daemon"
)

// A fleetHost is a hypervisor in a namespace, with a VM and a libvirt that knows it.
type fleetHost struct {
	*testing.T
	n               *lab.Network
	program, config string
	vm, xml         string
}

// fleetConfig is the configuration of hosts that agree.
const fleetConfig = "parents = [\"enp88s0\"]\n[policy.default]\ngateway_macs = [\"02:00:00:00:00:77\"]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\nlearn = \"off\"\n"

func newFleetHost(t *testing.T, program string, number byte, config string) *fleetHost {
	t.Helper()
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	folder := t.TempDir()
	h := &fleetHost{T: t, n: n, program: program, config: filepath.Join(folder, "config.toml"), vm: fmt.Sprintf("vm-%d", number)}
	h.check(os.WriteFile(h.config, []byte(config), 0o600))
	h.check(n.Hypervisor.Hide("/run"))
	h.check(n.Hypervisor.Run(exec.Command("sh", "-ec", `mkdir /run/libvirt; ln -s "$0" /run/libvirt/libvirt-sock`, h.libvirt(number))))
	tap, err := n.AddMacvtap("macvtap0", net.HardwareAddr{0x52, 0x54, 0, 0, 0, number})
	h.check(err)
	h.xml = fmt.Sprintf(`<domain><name>%s</name><uuid>0d3f7c1e-5b2a-4c61-9e0f-0000000000%02x</uuid><devices>
		<interface type='direct'><mac address='%s'/><source dev='%s'/><target dev='%s'/></interface></devices></domain>`, h.vm, number, tap.MAC, n.Parent, tap.Name)
	hook := h.command(h.vm, "start", "begin", "-")
	hook.Stdin = strings.NewReader(h.xml)
	h.check(n.Hypervisor.Run(hook))
	h.check(errors.Join(tap.Up(), tap.Open()))
	return h
}

func (h *fleetHost) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *fleetHost) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.program, args...)
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+h.config)
	return cmd
}

// metrics gives what the command prints, as long as it misses nothing.
func (h *fleetHost) metrics(context.Context) ([]byte, error) {
	cmd := h.command("metrics")
	var page, said strings.Builder
	cmd.Stdout, cmd.Stderr = &page, &said
	if err := h.n.Hypervisor.Run(cmd); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said.String())
	}
	return []byte(page.String()), nil
}

// libvirt answers for libvirt until the test ends, and gives the socket.
func (h *fleetHost) libvirt(number byte) string {
	socket := filepath.Join(h.TempDir(), "libvirt-sock")
	l, err := net.Listen("unix", socket)
	h.check(err)
	h.Cleanup(func() { _ = l.Close() })
	vm := daemon.VM(h.vm, [16]byte{0x0d, 0x3f, 0x7c, 0x1e, 0x5b, 0x2a, 0x4c, 0x61, 0x9e, 0x0f, 15: number}, 7)
	answer := func(call daemon.Call) []byte {
		switch call.Procedure {
		case daemon.AuthList:
			return daemon.Words(1, 0)
		case daemon.LookupByName, daemon.LookupByUUID:
			return vm
		case daemon.ListAll:
			return slices.Concat(daemon.Words(1), vm, daemon.Words(1))
		case daemon.GetXML:
			return daemon.Text(h.xml)
		}
		return daemon.Words(1)
	}
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go func() {
				defer conn.Close()
				for call, err := daemon.Read(conn); err == nil; call, err = daemon.Read(conn) {
					if _, err := conn.Write(call.Answer(answer(call), false)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return socket
}

// TestFleetInPrometheus has a Prometheus fetch what "macvtap-filter metrics" prints on three
// hosts, and asks it all that the fleet's page does. One host has another configuration, and
// on one somebody flushed the rules: the page and the alerts tell of these.
func TestFleetInPrometheus(t *testing.T) {
	needs(t, "prometheus")
	program := filepath.Join(t.TempDir(), "macvtap-filter")
	build := exec.Command("go", "build", "-ldflags=-X main.release=1.2.3", "-o", program, "macvtap-filter/cmd/macvtap-filter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, said)
	}
	same, other, flushed := newFleetHost(t, program, 1, fleetConfig), newFleetHost(t, program, 2, fleetConfig+"log = true\n"), newFleetHost(t, program, 3, fleetConfig)
	flushed.check(flushed.n.Hypervisor.Run(exec.Command("nft", "flush", "ruleset")))

	monitor, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = monitor.Close() })
	targets := ""
	for n, h := range []*fleetHost{same, other, flushed} {
		address := fmt.Sprintf("127.0.0.%d:9477", n+1)
		h.check(monitor.Do(func() error { serve(t, "tcp", address, h.metrics); return nil }))
		targets += fmt.Sprintf("{targets: ['%s'], labels: {instance: hv%d}}, ", address, n+1)
	}
	alerts, err := os.ReadFile(filepath.Join(rules, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	impatient := filepath.Join(t.TempDir(), "alerts.yml")
	if err := os.WriteFile(impatient, regexp.MustCompile(`(?m)^ +for: .*\n`).ReplaceAll(alerts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	api := prometheus(t, monitor, fmt.Sprintf("global: {scrape_interval: 4s, scrape_timeout: 4s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs: [{job_name: macvtap-filter, static_configs: [%s]}]\n", impatient, targets))

	// Once the last host is known, all are.
	want := func(expr string, labels []string, rows ...string) {
		t.Helper()
		slices.Sort(rows)
		for end := time.Now().Add(bound); ; time.Sleep(100 * time.Millisecond) {
			series, err := ask(api, expr)
			var got []string
			for _, s := range series {
				row := ""
				for _, l := range labels {
					row += s.labels[l] + " "
				}
				got = append(got, row+s.value)
			}
			slices.Sort(got)
			diff := cmp.Diff(rows, got)
			if err == nil && diff == "" {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v, -want +got:\n%s", expr, err, diff)
			}
		}
	}
	pages := map[string][]string{}
	for _, q := range dashboard(t, fleetPage) {
		pages[q.title] = append(pages[q.title], q.expr)
	}
	one := func(title string, n int) string {
		t.Helper()
		if len(pages[title]) <= n {
			t.Fatalf("the page has no query %d of %q", n, title)
		}
		return pages[title][n]
	}
	want(one("Hosts", 0), nil, "3")
	want(one("VMs", 0), nil, "3")
	want(one("Interfaces to be mended", 0), nil, "1")
	want(one("Hosts without watch", 0), nil, "3")
	want(one("Configurations", 0), nil, "2")
	want(one("Versions", 0), nil, "1")
	const hosts, vms = "Hosts by version, configuration and state", "VMs by host, policy, state and version"
	want(one(hosts, 0), []string{"instance", "version"}, "hv1 1.2.3 1", "hv2 1.2.3 1", "hv3 1.2.3 1")
	want(one(hosts, 5), []string{"instance"}, "hv1 0", "hv2 0", "hv3 1")
	want(one(vms, 0), []string{"instance", "vm", "device", "policy", "version"}, "hv1 vm-1 macvtap0 default 1.2.3 1", "hv2 vm-2 macvtap0 default 1.2.3 1", "hv3 vm-3 macvtap0 default 1.2.3 1")
	want(one(vms, 1), []string{"instance", "vm", "state"}, "hv1 vm-1 protected 1", "hv2 vm-2 protected 1", "hv3 vm-3 unprotected 1")
	want(one("Firing alerts", 0), []string{"alertname", "instance", "vm", "severity"},
		"MacvtapFilterUnprotected hv3 vm-3 critical 1", "MacvtapFilterConfigsDiffer   info 1",
		"MacvtapFilterWatchGone hv1  warning 1", "MacvtapFilterWatchGone hv2  warning 1", "MacvtapFilterWatchGone hv3  warning 1")
	hashes := map[string]string{}
	for _, s := range wantAnswer(t, api, query{hosts, one(hosts, 1)}) {
		hashes[s.labels["instance"]] = s.labels["hash"]
	}
	if len(hashes) != 3 || hashes["hv1"] != hashes["hv3"] || hashes["hv1"] == hashes["hv2"] {
		t.Errorf("the configurations' hashes are %v, want hv2's to be another", hashes)
	}
	for _, q := range dashboard(t, fleetPage) {
		wantAnswer(t, api, q)
	}
}
