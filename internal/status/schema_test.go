package status

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSchema holds the manual page against the JSON form: it describes each field, and
// none that there is not. Who changes this counts up Schema, unless a field only came.
func TestSchema(t *testing.T) {
	page, err := os.ReadFile("../packaging/man/macvtap-filter.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh STATUS\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	described := map[string]bool{}
	for _, item := range regexp.MustCompile(`(?m)^\.It Va (.*)$`).FindAllStringSubmatch(section, -1) {
		for name := range strings.SplitSeq(item[1], " , ") {
			described[name] = true
		}
	}
	there := map[string]bool{}
	top := fields(reflect.TypeFor[Status]())
	for _, name := range top {
		there[name] = true
	}
	delete(there, "watch")
	delete(there, "guard")
	for prefix, of := range map[string]reflect.Type{
		"watch.": reflect.TypeFor[Watch](), "guard.": reflect.TypeFor[Guard](), "": reflect.TypeFor[Interface](),
		"from_vm.": reflect.TypeFor[Flow](), "to_vm.": reflect.TypeFor[Flow](),
	} {
		for _, name := range fields(of) {
			there[prefix+name] = true
		}
	}
	delete(there, "from_vm")
	delete(there, "to_vm")
	for _, of := range []reflect.Type{reflect.TypeFor[Drop](), reflect.TypeFor[Count]()} {
		for _, name := range fields(of) {
			there[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(there)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("the fields (-) and the manual page's (+):\n%s", diff)
	}
	for _, s := range States() {
		if !strings.Contains(section, "\n.It Li "+string(s)+"\n") && !strings.Contains(section, "\n.It Li \""+string(s)+"\"\n") {
			t.Errorf("the manual page has no state %q", s)
		}
	}
	if !strings.Contains(section, "The version of this form: 1.") || Schema != 1 {
		t.Errorf("the manual page is of another version than %d", Schema)
	}
}

// fields gives the names of a structure's fields in JSON.
func fields(of reflect.Type) []string {
	var out []string
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "-" {
			out = append(out, name)
		}
	}
	return out
}

// TestUnknownIsAbsent shows that of an interface of which nothing is known, nothing is
// said.
func TestUnknownIsAbsent(t *testing.T) {
	text := marshal(t, Status{Time: time.Unix(0, 0).UTC(), Notes: []string{}, Interfaces: []Interface{{Device: "macvtap0"}}})
	want := `{"schema":0,"time":"1970-01-01T00:00:00Z","complete":false,"notes":[],"interfaces":[{"device":"macvtap0","from_vm":{},"to_vm":{}}]}`
	if text != want {
		t.Errorf("%s, want %s", text, want)
	}
	// That nothing was dropped is something that is known.
	text = marshal(t, Flow{Passed: &Count{}, Drops: []Drop{}})
	if want := `{"passed":{"packets":0,"bytes":0},"drops":[]}`; text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
