package kernel

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A trust is what was seen to stand as it should at a generation of nftables: parts of
// policies, by their names, with what they hold. As long as the kernel is at that generation
// nobody has changed anything since, and a VM that starts need not read what its policy's
// rules are. It is kept in a file that only root can write, one for each network namespace,
// for generations are the namespace's. Without the file, all is read.
type trust struct {
	namespace  uint64 // the cookie of the network namespace, which no other ever has
	generation uint64
	parts      map[string]string
}

// trustFile names the file.
func trustFile() (string, error) {
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &namespace); err != nil {
		return "", err
	}
	return fmt.Sprintf("/run/macvtap-filter-generation-%d", namespace.Ino), nil
}

// loadTrust reads what is trusted in the network namespace of a socket; what cannot be read
// is nothing.
func loadTrust(socket int) trust {
	t := trust{parts: map[string]string{}}
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return t
	}
	t.namespace = cookie
	name, err := trustFile()
	if err != nil {
		return t
	}
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return t
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 {
		return t
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return t
	}
	for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if n == 0 {
			_, _ = fmt.Sscanf(line, "namespace %d generation %d", new(uint64), &t.generation)
			if line != t.head() {
				t.generation = 0 // another namespace's, before
				return t
			}
			continue
		}
		if name, digest, ok := strings.Cut(line, " "); ok {
			t.parts[name] = digest
		}
	}
	return t
}

// head is the first line of the file.
func (t trust) head() string {
	return fmt.Sprintf("namespace %d generation %d", t.namespace, t.generation)
}

// save keeps what is trusted from now on. That it could not be kept costs time later.
func (t trust) save() {
	name, err := trustFile()
	if err != nil || t.namespace == 0 {
		return
	}
	var text strings.Builder
	fmt.Fprintln(&text, t.head())
	for _, part := range slices.Sorted(maps.Keys(t.parts)) {
		fmt.Fprintf(&text, "%s %s\n", part, t.parts[part])
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".")
	if err != nil {
		return
	}
	_, err = file.WriteString(text.String())
	if closed := file.Close(); err != nil || closed != nil || os.Rename(file.Name(), name) != nil {
		_ = os.Remove(file.Name())
	}
}

// forgetTrust removes the file.
func forgetTrust() {
	if name, err := trustFile(); err == nil {
		_ = os.Remove(name)
	}
}

// of gives the name of the part that interface's rules have and that is trusted, "" for none.
func (t trust) of(table ruleset.Table, sums digests) string {
	should := sums.of(table.Part())
	for name := range table.Names {
		switch t.parts[name] {
		case "":
			return ""
		case should:
			return name
		}
	}
	return ""
}

// digests are those of parts, worked out once for many interfaces.
type digests map[*ruleset.Rule]string

func (d digests) of(p ruleset.Part) string {
	place := p.Memory()
	if d[place] == "" || place == nil {
		d[place] = p.Digest()
	}
	return d[place]
}
