package policytest

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

// A Taker takes configurations whose tests hold. A configuration is decided once, when it is
// taken for the first time, and what was found is kept in a file: a VM that starts does not wait
// for it again, and one that was taken stays taken when the host's network changes.
type Taker struct {
	Record  string // the file, which only root can write
	Version string // of the program: another one makes other rules
	Facts   func(c *config.Config) ([]facts.Facts, error)
}

// Record is where the program keeps which configurations it has taken: while a host starts, its
// network is not yet what the tests were decided under.
const Record = "/var/lib/macvtap-filter/tested"

// unversioned is what go calls every program that is built from no tagged commit: one may make
// other rules than the next.
const unversioned = "(devel)"

// recorded bounds how many configurations are remembered.
const recorded = 16

// Take gives the *config.Error of a configuration that breaks its own tests. One without
// tests is not looked at, nor one none of whose parents is here. Where a policy has no rules yet,
// as before the host's network is up, no VM starts with it, and its tests are left for another
// time; until the network is known as a whole, so is what the VM can open, or others on it: that
// closes nothing.
func (t Taker) Take(c *config.Config) error {
	if len(c.Tests()) == 0 {
		return nil
	}
	line := t.Version + " " + c.Sum()
	known := t.read()
	if slices.Contains(known, line) {
		return nil
	}
	f, err := t.Facts(c)
	if err != nil {
		return err
	}
	if len(f) == 0 {
		return nil
	}
	whole := complete(c, f)
	if !whole {
		if line += " " + sum(f); slices.Contains(known, line) {
			return nil
		}
	}
	results, err := Check(c, f)
	if err != nil && !whole {
		err = c.Broken(distinct(open(results)))
	}
	if err == nil && (!whole || !slices.ContainsFunc(results, func(r Result) bool { return r.Err != nil })) {
		t.write(append(known, line))
	}
	return err
}

// open gives the broken entries by which more is open than they say.
func open(results []Result) []config.Broken {
	var out []config.Broken
	for _, r := range results {
		for _, b := range r.Broken {
			if slices.ContainsFunc(slices.Concat(r.Test.Cannot, r.Test.NotReachedBy), func(e config.TestEntry) bool { return e.At() == b.Entry.At() }) {
				out = append(out, b)
			}
		}
	}
	return out
}

// complete reports whether a host's network is known: every parent's link and router, and whom
// each word of the tests stands for. Else a configuration is taken for what is known alone.
func complete(c *config.Config, known []facts.Facts) bool {
	for _, f := range known {
		if len(f.Gateway) == 0 || len(f.OnLink) == 0 || len(Nobody(c, f)) > 0 {
			return false
		}
	}
	return !slices.ContainsFunc(c.Literals(), func(name string) bool {
		return !slices.ContainsFunc(known, func(f facts.Facts) bool { return f.Parent == name || slices.Contains(f.Names, name) })
	})
}

// sum is one of facts.
func sum(known []facts.Facts) string {
	h := fnv.New64a()
	for _, f := range known {
		_ = f.Write(h) // a hash takes anything
	}
	return fmt.Sprintf("%x", h.Sum64())
}

// read gives the lines of the record; one that others could write counts for nothing.
func (t Taker) read() []string {
	if t.Version == "" || t.Version == unversioned {
		return nil
	}
	info, err := os.Lstat(t.Record)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return nil
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 {
		return nil
	}
	text, err := os.ReadFile(t.Record)
	if err != nil {
		return nil
	}
	var out []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		out = append(out, lines.Text())
	}
	return out
}

// write keeps the last lines. Who cannot, decides again: that is all that is lost.
func (t Taker) write(lines []string) {
	if t.Version == "" || t.Version == unversioned {
		return
	}
	lines = lines[max(0, len(lines)-recorded):]
	_ = os.MkdirAll(filepath.Dir(t.Record), 0o755) // what is wrong, the next call says
	file, err := os.CreateTemp(filepath.Dir(t.Record), ".tested-")
	if err != nil {
		return
	}
	_, err = file.WriteString(strings.Join(lines, "\n") + "\n")
	if file.Close() != nil || err != nil || os.Chmod(file.Name(), 0o644) != nil || os.Rename(file.Name(), t.Record) != nil {
		_ = os.Remove(file.Name())
	}
}
