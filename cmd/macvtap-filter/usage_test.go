package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/config"
)

// An errNone says that it is made of others, and has none.
type errNone struct{}

func (errNone) Error() string   { return "none" }
func (errNone) Unwrap() []error { return nil }

// TestApart takes apart what was joined, and nothing that says more than its parts.
func TestApart(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	for _, test := range []struct {
		err  error
		want []string
	}{
		{nil, nil},
		{errors.Join(nil, nil), nil},
		{a, []string{"a"}},
		{errors.Join(a, errors.Join(b, a)), []string{"a", "b", "a"}},
		{fmt.Errorf("guard: %w: %w", a, b), []string{"guard: a: b"}},
		{fmt.Errorf("VM: %w", errors.Join(a, b)), []string{"VM: a\nb"}},
		{errNone{}, []string{"none"}},
	} {
		var got []string
		for _, err := range apart(test.err) {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v: %s", test.err, diff)
		}
	}
}

// TestEachMistake has one line for each mistake in a log, whatever was said of all.
func TestEachMistake(t *testing.T) {
	_, wrong := config.Parse("c", []byte("parents = ['/', '..']"))
	many, _ := errors.AsType[*config.Error](wrong)
	many.More = 1
	want := []string{`VM "a": c:1:12: parents: "/" is no name or glob`, `VM "a": c:1:17: parents: ".." is the name of a folder, and of no NIC`, `VM "a": and 1 more`}
	if diff := cmp.Diff(want, eachMistake(fmt.Errorf("VM %q: %w", "a", wrong))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b"}, eachMistake(errors.New("b"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
