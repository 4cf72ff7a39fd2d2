package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/rivo/uniseg"

	"macvtap-filter/internal/ruleset"
)

// width is how many columns of a terminal a text takes: none for a sign that is put on
// another, two for most of East Asia's.
func width(s string) int { return uniseg.StringWidth(s) }

// clean makes any text fit for a terminal: what it would obey instead of showing
// (control characters, changes of the writing direction), or what nobody would see,
// becomes '?'.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != noBreak {
			return '?'
		}
		return r
	}, s)
}

// noBreak is a space at which no line is broken.
const noBreak = '\u00a0'

// together has no line broken in a text.
func together(s string) string { return strings.ReplaceAll(s, " ", string(noBreak)) }

// cut shortens a text to so many columns, between signs as people see them.
func cut(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	var out strings.Builder
	left := columns - 1 // for the sign that says so
	state := -1
	for s != "" {
		var sign string
		var wide int
		sign, s, wide, state = uniseg.FirstGraphemeClusterInString(s, state)
		if left -= wide; left < 0 {
			break
		}
		out.WriteString(sign)
	}
	return out.String() + "…"
}

// closed ends a text that is written from right to left with a mark of the other
// direction (Unicode's Bidirectional Algorithm, UAX #9): a terminal that knows such
// writing would take the figures of the next columns for a part of it.
func closed(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Adlam)
	}) {
		return s + "\u200e"
	}
	return s
}

// wrap breaks a text into lines of so many columns, at spaces where it can.
func wrap(s string, columns int) []string {
	if columns <= 0 {
		columns = width(s)
	}
	var lines []string
	line := ""
	for word := range strings.SplitSeq(s, " ") {
		for {
			longer := word
			if line != "" {
				longer = line + " " + word
			}
			if width(longer) <= columns {
				line = longer
				break
			}
			if line != "" {
				lines, line = append(lines, line), ""
				continue
			}
			head := strings.TrimSuffix(cut(word+"…", columns+1), "…")
			if head == "" {
				line = word // one sign is wider than the terminal
				break
			}
			lines, word = append(lines, head), word[len(head):]
		}
	}
	lines = append(lines, line)
	for n := range lines {
		lines[n] = strings.ReplaceAll(lines[n], string(noBreak), " ")
	}
	return lines
}

// short writes a number in few signs: 12345 is 12.3k.
func short(n float64) string {
	const units = "kMGTPE"
	if n < 9999.5 {
		if n == float64(int64(n)) || n >= 99.5 {
			return fmt.Sprintf("%.0f", n)
		}
		return fmt.Sprintf("%.1f", n)
	}
	unit := -1
	for n >= 999.5 && unit < len(units)-1 {
		n, unit = n/1000, unit+1
	}
	if n < 99.95 {
		return fmt.Sprintf("%.1f%c", n, units[unit])
	}
	return fmt.Sprintf("%.0f%c", n, units[unit])
}

// bytes writes a number of bytes.
func bytes(n float64) string { return short(n) + "B" }

// Since writes for people when something began, as seen from now.
func Since(t *time.Time, now time.Time) string {
	if t == nil {
		return unknown
	}
	at := t.In(now.Location())
	switch {
	case at.YearDay() == now.YearDay() && at.Year() == now.Year():
		return at.Format("15:04:05")
	case at.Year() == now.Year():
		return at.Format("Jan _2 15:04")
	}
	return at.Format("2006-01-02")
}

// Ago says for people how long ago something was, in the largest unit that fits.
func Ago(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"day", ruleset.Day}, {"hour", time.Hour}, {"minute", time.Minute}}
	for _, u := range units {
		switch n := d / u.size; {
		case n == 1:
			return "1 " + u.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, u.name)
		}
	}
	return "just now"
}

// unknown stands where nothing is known.
const unknown = "-"
