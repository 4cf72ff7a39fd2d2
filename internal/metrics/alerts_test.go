package metrics_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rules is where the alert rules and their cases are.
var rules = filepath.Join("..", "packaging")

// alerts gives the queries of the alert rules, which TestQueryNames holds against the metrics.
func alerts(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rules, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []query
	for _, rule := range regexp.MustCompile(`(?m)^ +- alert: (\S+)\n +expr: (.+)$`).FindAllStringSubmatch(string(text), -1) {
		out = append(out, query{rule[1], rule[2]})
	}
	if n := strings.Count(string(text), "alert: "); n == 0 || n != len(out) {
		t.Fatalf("%d alerts, and the queries %q", n, out)
	}
	return out
}

// TestAlerts has Prometheus's own tool judge the rules, and what they say of hosts that are as
// they should be, and of each that is not.
func TestAlerts(t *testing.T) {
	needs(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", filepath.Join(rules, "alerts.yml")},
		{"test", "rules", filepath.Join(rules, "alerts_test.yml")},
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	cases, err := os.ReadFile(filepath.Join(rules, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if !strings.Contains(string(cases), `exp_samples: [{labels: 'ALERTS{alertname="`+a.title+`"`) {
			t.Errorf("%s has no case that raises it", a.title)
		}
	}
}
