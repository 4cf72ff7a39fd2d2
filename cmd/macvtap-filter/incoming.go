package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/ruleset"
)

// A VM that comes from another host, or was saved, runs already when libvirt calls the hook
// for its start, and nothing in the XML says so: only the operations migrate and restore come
// before it (https://libvirt.org/hooks.html). Its guest asks for no lease and probes for no
// address again, so that rules which learn its addresses have to take those that it uses.

// incoming is the file that says of a VM that it comes.
func incoming(d *domain.Domain) string { return "/run/macvtap-filter-incoming-" + d.UUID }

// expect notes that the VM comes. XML that cannot be read is the start's to tell of.
func (h *hookCall) expect() error {
	d, err := h.readDomain()
	if err != nil || d.UUID == "" || strings.Contains(d.UUID, "/") {
		return nil
	}
	return os.WriteFile(incoming(d), nil, 0o600)
}

// arrived gives the rules of a VM that starts: those for one that runs already, if it was
// expected.
func arrived(d *domain.Domain, tables []ruleset.Table) []ruleset.Table {
	if unexpect(d) != nil {
		return tables
	}
	out := slices.Clone(tables)
	for i, t := range out {
		out[i] = filter.Running(t)
	}
	return out
}

// unexpect takes the note away; the error is fs.ErrNotExist where there was none.
func unexpect(d *domain.Domain) error {
	err := unix.Unlink(incoming(d)) // package os would try it as a folder, too
	if errors.Is(err, unix.ENOENT) {
		return fs.ErrNotExist
	}
	return err
}
