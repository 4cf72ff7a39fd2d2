// Package near says what a mistyped name most likely stands for.
package near

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Name gives the one of the names that a mistyped one most likely stands for, "" for
// none: one letter in three may be wrong.
func Name(typed string, names []string) string {
	near, least := "", max(1, utf8.RuneCountInString(typed)/3)+1
	for _, name := range names {
		distance := levenshtein.ComputeDistance(strings.ToLower(typed), strings.ToLower(name))
		if distance < least {
			near, least = name, distance
		}
	}
	return near
}

// NIC does so for a network device: where none is near, one of the same kind, whose name
// begins with the same letters, as "enp3s0" does for "enp88s0", or at least with the same
// two, as names of Ethernet cards do (systemd.net-naming-scheme(7)).
func NIC(typed string, names []string) string {
	if name := Name(typed, names); name != "" {
		return name
	}
	kind := letters(typed)
	for _, begin := range []string{kind, kind[:min(len(kind), 2)]} {
		for _, name := range names {
			if begin != "" && strings.HasPrefix(letters(name), begin) {
				return name
			}
		}
	}
	return ""
}

// letters gives what stands before the first sign that is no letter.
func letters(name string) string {
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsLetter(r) }); i >= 0 {
		return name[:i]
	}
	return name
}
