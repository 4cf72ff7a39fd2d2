package ruleset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxComment is the longest comment in bytes that nft reads back (nft's
// NFTNL_UDATA_COMMENT_MAXLEN; nft 1.0.6 refuses one byte more).
const MaxComment = 128

// maxLogPrefix is the longest prefix of a log line in bytes
// (include/uapi/linux/netfilter/nf_log.h, NF_LOG_PREFIXLEN less the NUL).
const maxLogPrefix = 127

// maxName is the longest identifier (include/uapi/linux/netfilter/nf_tables.h,
// NFT_NAME_MAXLEN, less the terminating NUL, and nft's own bound of 128).
const maxName = 127

// maxDevice is the longest device name (include/uapi/linux/if.h, IFNAMSIZ less
// the terminating NUL).
const maxDevice = 15

// Comment makes any text fit to be a comment: what nft cannot read back (quotes,
// broken UTF-8) or a terminal would obey (control characters, changes of the
// writing direction) becomes '?', and what is too long is cut.
func Comment(s string) string {
	clean := printable(s)
	if len(clean) <= MaxComment {
		return clean
	}
	cut := MaxComment
	for !utf8.RuneStart(clean[cut]) {
		cut--
	}
	return clean[:cut]
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// LogPrefix makes the beginning of a log line, which nft and the kernel bound: words,
// and last a name, as much of it as fits. In the name blanks become '_', so that no
// name looks like more words; one that was cut ends in "…".
func LogPrefix(words, name string) string {
	const end, cut = " ", "…"
	// nft would read a variable.
	prefix := strings.ReplaceAll(printable(words+strings.ReplaceAll(name, " ", "_")), "$", "?")
	if len(prefix) > maxLogPrefix-len(end) {
		for len(prefix) > maxLogPrefix-len(cut+end) || !utf8.ValidString(prefix) {
			prefix = prefix[:len(prefix)-1]
		}
		prefix += cut
	}
	return prefix + end
}

func validComment(s string) error {
	if len(s) > MaxComment {
		return fmt.Errorf("a comment of %d bytes, nft reads at most %d", len(s), MaxComment)
	}
	if s != Comment(s) {
		return errors.New("a comment that nft cannot read back")
	}
	return nil
}

// ValidDevice reports whether nft can write the device name in its quoted form:
// it knows no escapes, and reads a trailing '*' as "every device that begins
// like this".
func ValidDevice(name string) bool {
	if name == "" || len(name) > maxDevice {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"*\/`, c) >= 0 {
			return false
		}
	}
	return true
}

// validIdentifier follows the token "string" of nft's src/scanner.l.
func validIdentifier(s string) bool {
	if s == "" || len(s) > maxName || !letter(s[0]) {
		return false
	}
	for _, c := range []byte(s) {
		if !letter(c) && (c < '0' || c > '9') && strings.IndexByte("/-_.", c) < 0 {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// escape turns any device name into the part of an identifier, one to one: bytes
// that an identifier cannot hold become "/xx" (a device name has no '/').
func escape(device string) string {
	var b strings.Builder
	for _, c := range []byte(device) {
		if validIdentifier("a" + string(rune(c))) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "/%02x", c)
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for {
		before, after, escaped := strings.Cut(s, "/")
		b.WriteString(before)
		if !escaped {
			return b.String(), true
		}
		if len(after) < 2 {
			return "", false
		}
		c, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		s = after[2:]
	}
}

// Prefix begins the names of the rules of devices, and of the guard's table. Tables of
// other names than these and RulesTable are never touched.
const Prefix = "macvtap-filter-"

// RulesTable is the table of the rules of all devices (see Merge), and GuardTable that of
// the guard (see filter.Guard).
const (
	RulesTable = "macvtap-filter"
	GuardTable = "macvtap-filter-guard"

	// PlugTable closes NICs that are about to be plugged (see filter.Plugs). No device's rules have
	// such a name.
	PlugTable = "macvtap-filter.plugs"

	// TraceTable has frames traced, as long as somebody looks (see kernel.Trace).
	TraceTable = "macvtap-filter.trace"
)

// TableName names the rules of a device, which no table has the name of any more (see Merge).
// Those of a device that is called as the guard is in its table's name have another name.
func TableName(device string) string {
	if name := Prefix + escape(device); name != GuardTable {
		return name
	}
	return Prefix + fmt.Sprintf("/%02x", device[0]) + device[1:]
}

// TableDevice gives the device that rules are named after; false for a name that
// TableName never gives.
func TableDevice(table string) (string, bool) {
	escaped, ours := strings.CutPrefix(table, Prefix)
	device, ok := unescape(escaped)
	return device, ours && ok && device != "" && TableName(device) == table
}

// Shown names rules as users know them: by their device, and the guard by its table.
func Shown(name string) string {
	if device, ok := TableDevice(name); ok {
		return device
	}
	return name
}
