package libvirt

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// formatUUID writes a UUID as domain XML does.
func formatUUID(u [16]byte) string {
	s := hex.EncodeToString(u[:])
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

func parseUUID(s string) (u [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("%q is no UUID", s)
	}
	copy(u[:], b)
	return u, nil
}
