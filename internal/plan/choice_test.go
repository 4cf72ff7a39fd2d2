package plan

import (
	"errors"
	"strings"
	"testing"

	"macvtap-filter/internal/domain"
)

const choosing = `parents = ["lan0"]
metadata = "honour"
[policy.default]
deny = ["10.0.0.0/8"]
allow = []
[policy.dmz]
deny = ["172.16.0.0/12"]
allow = ["172.16.0.1"]
`

// choose makes the plan of a VM with a choice of its own.
func choose(t *testing.T, config string, c *domain.Choice) (Plan, error) {
	t.Helper()
	d := vm(nic(1, "a", "eth0"))
	d.Choice = c
	return Make(d, mustParse(t, config), lan())
}

func TestChoiceIsHonoured(t *testing.T) {
	got, err := choose(t, choosing, &domain.Choice{Policy: "dmz", Allow: []string{"172.16.0.9 tcp/80"}})
	if err != nil {
		t.Fatal(err)
	}
	rules := got.Tables[0].String()
	for _, want := range []string{"172.16.0.0/12", "172.16.0.1,", "172.16.0.9 . 6 . 80"} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %q in the rules:\n%s", want, rules)
		}
	}
	if strings.Contains(rules, "10.0.0.0/8") {
		t.Error("the default policy's denied prefix is in the rules")
	}
}

// The default is to let no VM's definition choose.
func TestChoiceIsIgnored(t *testing.T) {
	for _, config := range []string{strings.Replace(choosing, "metadata = \"honour\"\n", "", 1), strings.Replace(choosing, "honour", "ignore", 1)} {
		got, err := choose(t, config, &domain.Choice{Policy: "dmz", Err: errors.New("not looked at")})
		if err != nil {
			t.Fatal(err)
		}
		if rules := got.Tables[0].String(); !strings.Contains(rules, "10.0.0.0/8") {
			t.Errorf("the configured policy is not in the rules:\n%s", rules)
		}
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Text, `policy "dmz"`) {
			t.Errorf("warnings %q, want one that names the policy", got.Warnings)
		}
	}
}

func TestChoiceErrors(t *testing.T) {
	for _, c := range []struct {
		choice domain.Choice
		want   string
	}{
		{domain.Choice{Policy: "nosuch"}, `the policy "nosuch" is not defined`},
		{domain.Choice{Allow: []string{"192.168.2.300"}}, `"192.168.2.300" is no address`},
		{domain.Choice{Err: errors.New("what it says")}, "what it says"},
	} {
		if _, err := choose(t, choosing, &c.choice); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `VM "web"`) {
			t.Errorf("%+v: error %v, want %q", c.choice, err, c.want)
		}
	}
}
