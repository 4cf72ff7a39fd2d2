package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/metrics"
	"macvtap-filter/internal/status"
)

// A query of a dashboard, by the title of its panel.
type query struct{ title, expr string }

// dashboard gives the queries of a file, with Grafana's variables as it would put them in.
func dashboard(t *testing.T, file string) []query {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "packaging", file))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*", "$vm", "web-1|web-2")
	ids, places := map[int]bool{}, map[[2]int]string{}
	var out []query
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the panel's number %d comes twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s: it lies over %q, or beside the board", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			expr := variables.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable that nobody defines: %s", p.Title, expr)
			}
			out = append(out, query{p.Title, expr})
		}
	}
	if len(out) < 15 {
		t.Fatalf("%s has only the queries %q", file, out)
	}
	return out
}

// The dashboards: of a host's interfaces, and of all hosts.
const (
	hostPage  = "grafana.json"
	fleetPage = "grafana-fleet.json"
)

// TestQueryNames holds the queries of the dashboards and the alerts against the metrics that there are: each name, and
// each label of it that is chosen by, summed by or joined on.
func TestQueryNames(t *testing.T) {
	labels := map[string]map[string]bool{}
	for name, family := range parse(t, text(t, picture("web-1", "web-2"))) {
		labels[name] = map[string]bool{"instance": true, "job": true} // Prometheus's own
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[name][l.GetName()] = true
			}
		}
	}
	const firing = "ALERTS" // Prometheus's own, too
	labels[firing] = map[string]bool{"alertname": true, "alertstate": true}
	used := map[string]bool{}
	for _, q := range slices.Concat(dashboard(t, hostPage), dashboard(t, fleetPage), alerts(t)) {
		parsed, err := metricsql.Parse(q.expr)
		if err != nil {
			t.Errorf("%s: %v: %s", q.title, err, q.expr)
			continue
		}
		known := map[string]bool{}
		var wanted []string
		metricsql.VisitAll(parsed, func(e metricsql.Expr) {
			switch e := e.(type) {
			case *metricsql.MetricExpr:
				for _, filters := range e.LabelFilterss {
					name := ""
					for _, f := range filters {
						if f.Label == "__name__" {
							name = f.Value
						}
					}
					if labels[name] == nil {
						t.Errorf("%s: there is no metric %q: %s", q.title, name, q.expr)
					}
					used[name] = true
					for label := range labels[name] {
						known[label] = true
					}
					for _, f := range filters {
						if f.Label != "__name__" && !labels[name][f.Label] {
							t.Errorf("%s: %s has no label %q: %s", q.title, name, f.Label, q.expr)
						}
					}
				}
			case *metricsql.AggrFuncExpr:
				wanted = append(wanted, e.Modifier.Args...)
			case *metricsql.BinaryOpExpr:
				wanted = append(append(wanted, e.GroupModifier.Args...), e.JoinModifier.Args...)
			}
		})
		for _, label := range wanted {
			if !known[label] {
				t.Errorf("%s: nothing in it has the label %q: %s", q.title, label, q.expr)
			}
		}
	}
	for name := range labels {
		if !used[name] && name != "macvtap_filter_guard_dropped_bytes_total" && !strings.HasSuffix(name, "_frames_total") {
			t.Errorf("the dashboard shows nothing of %s", name)
		}
	}
}

// needs skips a test where a program is missing, and fails it in CI.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: .ci/packages names its package", program)
	}
	t.Skipf("NOT CHECKED: %s is not installed", program)
}

// TestPromtool shows that the linter of Prometheus's own tool has nothing to say.
func TestPromtool(t *testing.T) {
	needs(t, "promtool")
	for about, page := range map[string]string{
		"everything": text(t, picture("web-1", "网关 一号", "a\nb\"\\", "d")), "nothing": text(t, status.Status{}),
	} {
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", about, err, out)
		}
	}
}

// TestDashboardInPrometheus has a Prometheus fetch a page whose counters grow, in a
// namespace of its own: each query of the dashboard then has an answer.
func TestDashboardInPrometheus(t *testing.T) {
	needs(t, "prometheus")
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	host := n.Hypervisor
	if err := host.Run(exec.Command("ip", "link", "set", "lo", "up")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	page := func(context.Context) ([]byte, error) {
		return []byte(text(t, grown(picture("web-1", "web-2", "other"), uint64(time.Since(began).Milliseconds())))), nil
	}
	var l net.Listener
	if err := host.Do(func() (err error) { l, err = metrics.Listen("tcp", "127.0.0.1:9477"); return err }); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go metrics.Serve(ctx, l, page)

	api := prometheus(t, host, "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: macvtap-filter, static_configs: [{targets: ['127.0.0.1:9477']}]}]\n")
	for _, q := range dashboard(t, hostPage) {
		wantAnswer(t, api, q)
	}
}

// prometheus runs Prometheus in a namespace until the test ends, and gives a client that asks it.
func prometheus(t *testing.T, host *lab.Namespace, config string) *http.Client {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(folder, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address=127.0.0.1:9090")
	var said strings.Builder
	cmd.Stderr = &said
	if err := host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return &http.Client{Timeout: bound, Transport: &http.Transport{DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
		err = host.Do(func() (err error) { conn, err = net.DialTimeout("tcp", "127.0.0.1:9090", bound); return err })
		return conn, err
	}}}
}

// wantAnswer waits until a query has an answer, and gives it.
func wantAnswer(t *testing.T, api *http.Client, q query) []sample {
	t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(50 * time.Millisecond) {
		series, err := ask(api, q.expr)
		if err == nil && len(series) > 0 {
			t.Logf("%s: %d series, the first is %s", q.title, len(series), series[0])
			return series
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v, %q: %s", q.title, err, series, q.expr)
		}
	}
}

// grown is a status after so many frames more of everything.
func grown(s status.Status, frames uint64) status.Status {
	drops := func(ds []status.Drop) []status.Drop {
		out := slices.Clone(ds)
		for n := range out {
			out[n].Packets += frames
		}
		return out
	}
	s.Guard = &status.Guard{FromVM: drops(s.Guard.FromVM), ToVM: drops(s.Guard.ToVM)}
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		i.FromVM.Drops, i.ToVM.Drops = drops(i.FromVM.Drops), drops(i.ToVM.Drops)
		i.FromVM.Passed.Packets += 3 * frames
		i.ToVM.Arrived.Packets += 3 * frames
	}
	return s
}

// A sample is a series that Prometheus answers with, and its value.
type sample struct {
	labels map[string]string
	value  string
}

func (s sample) String() string { return fmt.Sprint(s.labels, " ", s.value) }

// ask has Prometheus evaluate a query (prometheus.io, "HTTP API").
func ask(api *http.Client, expr string) ([]sample, error) {
	answer, err := api.Get("http://prometheus/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var told struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	if told.Status != "success" {
		return nil, errors.New(told.Error)
	}
	var out []sample
	for _, r := range told.Data.Result {
		out = append(out, sample{r.Metric, fmt.Sprint(r.Value[1])})
	}
	return out, nil
}
