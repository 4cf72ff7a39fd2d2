package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestSchemas holds the manual page against the fields of the JSON forms of check and apply.
func TestSchemas(t *testing.T) {
	page, err := os.ReadFile("../../internal/packaging/man/macvtap-filter.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []struct {
		section string
		schema  int
		types   []reflect.Type
	}{
		{"CHECK", checkSchema, []reflect.Type{reflect.TypeFor[checkForm](), reflect.TypeFor[checked]()}},
		{"APPLY", applySchema, []reflect.Type{reflect.TypeFor[applyForm](), reflect.TypeFor[appliedInterface]()}},
	} {
		_, section, _ := strings.Cut(string(page), "\n.Sh "+form.section+"\n")
		section, _, _ = strings.Cut(section, "\n.Sh ")
		for _, of := range form.types {
			for i := range of.NumField() {
				name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
				if !strings.Contains(section, ".It Va "+name+"\n") && !strings.Contains(section, " "+name+" ") && !strings.Contains(section, " "+name+"\n") {
					t.Errorf("%s in the manual page has no field %q", form.section, name)
				}
			}
		}
		if form.schema != 1 || !strings.Contains(section, "The version of this form: 1.") {
			t.Errorf("%s in the manual page is of another version", form.section)
		}
	}
}
