package lab

import (
	"regexp"
	"strings"
)

var (
	rawSet      = regexp.MustCompile(`(?s)\tset (\S+) \{\n\t\ttypeof [^\n]*\n(.*?)\t\}\n\n`)
	rawElements = regexp.MustCompile(`(?s)elements = (\{.*?\})\n`)
)

// Inline gives a listing of nft's with each set of raw bytes where a rule looks into it: so
// nft's JSON says it, which has no words to declare one (1.0.6).
func Inline(listing string) string {
	for _, set := range rawSet.FindAllStringSubmatch(listing, -1) {
		elements := "{ }"
		if found := rawElements.FindStringSubmatch(set[2]); found != nil {
			elements = strings.Join(strings.Fields(found[1]), " ")
		}
		listing = strings.ReplaceAll(listing, set[0], "")
		listing = strings.ReplaceAll(listing, "@"+set[1]+" ", elements+" ")
	}
	return listing
}
