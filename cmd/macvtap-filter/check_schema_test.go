package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestCheckSchema holds the manual page against the fields of check's JSON form.
func TestCheckSchema(t *testing.T) {
	page, err := os.ReadFile("../../internal/packaging/man/macvtap-filter.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh CHECK\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	for _, of := range []reflect.Type{reflect.TypeFor[checkForm](), reflect.TypeFor[checked]()} {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(section, ".It Va "+name+"\n") && !strings.Contains(section, " "+name+" ") && !strings.Contains(section, " "+name+"\n") {
				t.Errorf("the manual page has no field %q", name)
			}
		}
	}
	if checkSchema != 1 || !strings.Contains(section, "The version of this form: 1.") {
		t.Error("the manual page is of another version")
	}
}
