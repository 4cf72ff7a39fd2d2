package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"macvtap-filter/internal/status"
)

// checkSchema is the version of check's JSON form, as status.Schema is of status's.
const checkSchema = 1

// A checked is one thing that check looked at.
type checked struct {
	Result    string       `json:"result"` // ok, warning or failed
	Message   string       `json:"message"`
	VM        string       `json:"vm,omitempty"` // of an interface that is not as it should be
	UUID      string       `json:"uuid,omitempty"`
	Interface int          `json:"interface,omitempty"`
	Device    string       `json:"device,omitempty"`
	State     status.State `json:"state,omitempty"`
}

// A checkForm is what check prints as JSON.
type checkForm struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	Passed bool      `json:"passed"` // nothing failed
	Checks []checked `json:"checks"`
}

// A report prints what was checked, one line each, or as JSON at the end, and remembers
// failures.
type report struct {
	std    streams
	json   bool
	failed bool
	all    []checked
}

func (r *report) ok(format string, args ...any) {
	r.add(checked{Result: "ok", Message: fmt.Sprintf(format, args...)})
}

func (r *report) warn(format string, args ...any) {
	r.add(checked{Result: "warning", Message: fmt.Sprintf(format, args...)})
}

func (r *report) fail(format string, args ...any) {
	r.add(checked{Result: "failed", Message: fmt.Sprintf(format, args...)})
}

func (r *report) add(c checked) {
	r.failed = r.failed || c.Result == "failed"
	r.all = append(r.all, c)
	if r.json {
		return
	}
	word := c.Result
	if word == "failed" {
		word = strings.ToUpper(word)
	}
	fmt.Fprintf(r.std.out, "%-8s %s\n", word, c.Message)
}

// end prints the JSON form where that is wanted.
func (r *report) end() error {
	if !r.json {
		return nil
	}
	text, err := json.MarshalIndent(checkForm{checkSchema, time.Now(), !r.failed, r.all}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.std.out, "%s\n", escapeJSON(text))
	return err
}
