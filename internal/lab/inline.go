package lab

import (
	"regexp"
	"strings"
)

var (
	rawSet      = regexp.MustCompile(`(?s)\tset (\S+) \{\n\t\ttypeof [^\n]*\n(.*?)\t\}\n\n`)
	rawElements = regexp.MustCompile(`(?s)elements = (\{.*?\})\n`)
	dynamicSet  = regexp.MustCompile(`(?m)^\tset (\S+) \{\n(?:\t\t.*\n)*?\t\tflags dynamic,timeout\n`)

	elementComment = regexp.MustCompile(` comment "[^"]*"`)
)

// Inline gives a listing of nft's with each set of raw bytes where a rule looks into it: so
// nft's JSON says it, which has no words to declare one (1.0.6). What rules add to such a set
// is not in it, and a rule that looks for something in one that is empty is not, either.
func Inline(listing string) string {
	for _, set := range rawSet.FindAllStringSubmatch(listing, -1) {
		listing = strings.ReplaceAll(listing, set[0], "")
		if found := rawElements.FindStringSubmatch(set[2]); found != nil {
			listing = strings.ReplaceAll(listing, "@"+set[1]+" ", strings.Join(strings.Fields(elementComment.ReplaceAllString(found[1], "")), " ")+" ")
			continue
		}
		var lines []string
		for _, line := range strings.Split(listing, "\n") {
			if line, ok := withoutEmpty(line, set[1]); ok {
				lines = append(lines, line)
			}
		}
		listing = strings.Join(lines, "\n")
	}
	return dynamicSet.ReplaceAllStringFunc(listing, func(set string) string {
		name := dynamicSet.FindStringSubmatch(set)[1]
		if strings.Contains(listing, "update @"+name+" ") {
			return set
		}
		return strings.Replace(set, "dynamic,", "", 1) // nft sees it by the rules
	})
}

// withoutEmpty gives a rule without an empty set, or that there is no such rule.
func withoutEmpty(line, set string) (string, bool) {
	update := regexp.MustCompile(`(?:update|delete|add) @` + set + ` \{ [^}]* \} ?`)
	rest := update.ReplaceAllString(line, "")
	rest = regexp.MustCompile(`[io]if(?: \. \S+)+ != @`+set+` `).ReplaceAllString(rest, "")
	if strings.Contains(rest, "@"+set+" ") {
		return "", false
	}
	if rest != line && strings.Contains(rest, " set @") { // it changes a frame, and notes that
		return "", false
	}
	acts := regexp.MustCompile(`\s(?:accept|drop|goto|jump|update|delete|add) ?`)
	if rest != line && update.MatchString(line) && !acts.MatchString(rest+" ") {
		return "", false
	}
	return strings.TrimRight(rest, " "), true
}
