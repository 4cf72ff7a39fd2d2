package domain

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdopt(t *testing.T) {
	const ethernet = "<interface type='ethernet'><mac address='52:54:00:00:00:02'/><target dev='kv0' managed='no'/></interface>"
	const tap = "<interface type='ethernet'><target dev='tap0'/></interface><interface type='bridge'><source bridge='br0'/><target dev='kv0'/></interface>"
	d, err := Parse(strings.NewReader(vm(tap + ethernet + direct)))
	if err != nil {
		t.Fatal(err)
	}
	err = d.Adopt(func(device string) (name, parent string, ok bool, err error) {
		return "own0", "eth7", device == "kv0", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	last := parsed
	last.Number = 4
	want := []Interface{{Number: 3, Target: "own0", Parent: "eth7", MAC: []byte{0x52, 0x54, 0, 0, 0, 2}, Foreign: true}, last}
	if diff := cmp.Diff(want, d.Direct); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(d.Others) != 2 || !d.Adoptable() {
		t.Errorf("left: %+v", d.Others)
	}
	broken := errors.New("broken")
	err = d.Adopt(func(string) (name, parent string, ok bool, err error) { return "", "", false, broken })
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), `VM "web": interface 1: `) {
		t.Errorf("error %v", err)
	}
}
