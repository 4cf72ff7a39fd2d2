package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// A Listen is where watch has its figures read: a network of package net ("tcp" or
// "unix") and an address of that. The zero value is nowhere.
type Listen struct{ Network, Address string }

// maxSocket is the longest path of a socket in bytes (include/uapi/linux/un.h,
// UNIX_PATH_MAX less the terminating NUL).
const maxSocket = 107

// ParseListen reads "127.0.0.1:9477", "[::1]:9477", "unix:/run/file" or "", which is
// nowhere. What other hosts could reach is an error: the figures name every VM, and
// nobody is asked for a password.
func ParseListen(text string) (Listen, error) {
	if text == "" {
		return Listen{}, nil
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path), strings.ContainsRune(path, 0):
			return Listen{}, fmt.Errorf("%q: want an absolute path, as unix:/run/macvtap-filter-metrics.sock", text)
		case len(path) > maxSocket:
			return Listen{}, fmt.Errorf("%q: a socket's path has at most %d bytes, this one has %d", text, maxSocket, len(path))
		}
		return Listen{"unix", path}, nil
	}
	at, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return Listen{}, fmt.Errorf("%q: want a loopback address with a port, as 127.0.0.1:9477 or [::1]:9477, or a socket, as unix:/run/macvtap-filter-metrics.sock", text)
	case !at.Addr().IsLoopback():
		return Listen{}, fmt.Errorf("%q: others could read the figures there: want a loopback address, as 127.0.0.1:9477 or [::1]:9477, or a socket, as unix:/run/macvtap-filter-metrics.sock", text)
	case at.Port() == 0:
		return Listen{}, fmt.Errorf("%q: port 0 is none that anybody could ask", text)
	}
	return Listen{"tcp", at.String()}, nil
}

// String writes it as ParseListen reads it.
func (l Listen) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	return l.Address
}
