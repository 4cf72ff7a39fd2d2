package domain

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// readEntities has a document's own entities understood where it is read from what
// readEntities gives: all of the document. A document without any, as all of libvirt's are,
// is not read further than to its root.
func readEntities(document io.Reader, settings *etree.ReadSettings) (io.Reader, error) {
	var begin bytes.Buffer
	subset := internalSubset(io.TeeReader(document, &begin))
	all := io.MultiReader(&begin, document)
	if subset == "" {
		return all, nil
	}
	text, err := io.ReadAll(all)
	if err == nil {
		settings.Entity, err = entities(text, subset)
	}
	return bytes.NewReader(text), err
}

// internalSubset gives what stands behind the bracket of <!DOCTYPE …[, "" for no such
// declaration. What is wrong with the document is the parser's to say.
func internalSubset(document io.Reader) string {
	d := xml.NewDecoder(document)
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		token, err := d.RawToken()
		if err != nil {
			return ""
		}
		switch t := token.(type) {
		case xml.StartElement:
			return ""
		case xml.Directive:
			_, subset, _ := bytes.Cut(t, []byte("["))
			return string(subset)
		}
	}
}

// entities gives the general entities that a document declares of its own, with what
// stands for each. The parser puts that into the place of each reference, as text; so
// those with markup are none here, and a reference to them is an error, as is one to an
// entity in another file: nothing is fetched.
func entities(document []byte, subset string) (map[string]string, error) {
	declared, err := declarations(subset)
	if err != nil {
		return nil, err
	}
	e := expansion{declared, MaxSize}
	out := map[string]string{}
	for name := range declared {
		if text, err := e.entity(name, 0); err == nil {
			out[name] = text
			e.room -= bytes.Count(document, []byte("&"+name+";")) * len(text)
		}
		if e.room < 0 {
			return nil, fmt.Errorf("its entities make it larger than %d MiB", MaxSize>>20)
		}
	}
	return out, nil
}

// declarations reads the general entities with a value out of an internal subset (XML
// 1.0, 2.8 and 4.2), in which the decoder has put a blank for each comment. The first of
// a name counts. What else can change the document is refused: default attributes and
// parameter entities.
func declarations(subset string) (map[string]string, error) {
	between := regexp.MustCompile(`^(?:\s|<\?(?s:.*?)\?>)+`)
	entity := regexp.MustCompile(`^<!ENTITY\s+([^\s%&;<>'"]+)\s+(?:"([^"]*)"|'([^']*)')\s*>`)
	harmless := regexp.MustCompile(`^<!(?:ENTITY|ELEMENT|NOTATION)(?:[^>'"]|"[^"]*"|'[^']*')*>`)
	out := map[string]string{}
	for rest := subset; ; {
		rest = rest[len(between.FindString(rest)):]
		if strings.HasPrefix(rest, "]") {
			return out, nil
		}
		if m := entity.FindStringSubmatch(rest); m != nil {
			if _, known := out[m[1]]; !known {
				out[m[1]] = m[2] + m[3]
			}
		}
		declaration := harmless.FindString(rest)
		if declaration == "" {
			begin, _, _ := strings.Cut(rest, "\n")
			return nil, fmt.Errorf("<!DOCTYPE>: %.20q is not understood: only entities are, as in <!ENTITY name 'value'>", begin)
		}
		rest = rest[len(declaration):]
	}
}

// An expansion works out what entities stand for, as long as there is room: each
// reference and each byte that stands for one takes some.
type expansion struct {
	declared map[string]string
	room     int
}

// deepest bounds how entities stand for entities; libxml2 takes 40.
const deepest = 40

var errNoText = errors.New("no plain text")

// entity gives the text that an entity stands for. The numbers of characters in it count
// when it is declared, other references where it is used (XML 1.0, 4.4 and 4.5).
func (e *expansion) entity(name string, depth int) (string, error) {
	written, known := e.declared[name]
	if !known || depth > deepest {
		return "", errNoText
	}
	value, err := e.replace(written, func(reference string) (string, error) {
		if strings.HasPrefix(reference, "#") {
			return character(reference)
		}
		return "&" + reference + ";", nil
	})
	if err != nil || strings.Contains(value, "<") {
		return "", errNoText
	}
	return e.replace(value, func(reference string) (string, error) {
		if text, ok := predefined[reference]; ok {
			return text, nil
		}
		if strings.HasPrefix(reference, "#") {
			return character(reference)
		}
		return e.entity(reference, depth+1)
	})
}

var predefined = map[string]string{"lt": "<", "gt": ">", "amp": "&", "apos": "'", "quot": `"`}

// replace puts in the place of each reference what stands for it.
func (e *expansion) replace(text string, resolve func(reference string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "&")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		reference, after, ended := strings.Cut(rest, ";")
		stands, err := resolve(reference)
		if e.room -= 1 + len(stands); err != nil || !ended || e.room < 0 {
			return "", errNoText
		}
		out.WriteString(stands)
		text = after
	}
}

// character gives the character of a reference by number.
func character(reference string) (string, error) {
	digits, base := reference[1:], 10
	if strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseInt(digits, base, 32)
	if err != nil || n <= 0 {
		return "", errNoText
	}
	return string(rune(n)), nil
}
