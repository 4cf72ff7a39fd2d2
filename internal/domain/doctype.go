package domain

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/beevik/etree"
)

// readDoctype has what a document declares of its own understood where it is read: its entities by the settings, its
// default attributes when they are applied to what was read. It gives all of the document. One without declarations, as
// all of libvirt's are, is not read further than to its root.
func readDoctype(document io.Reader, settings *etree.ReadSettings) (io.Reader, attributes, error) {
	document = asVersion10(document)
	var begin bytes.Buffer
	subset, line := internalSubset(io.TeeReader(document, &begin), &begin)
	all := io.MultiReader(&begin, document)
	if subset == "" {
		return all, nil, nil
	}
	text, err := io.ReadAll(all)
	if err != nil {
		return nil, nil, err
	}
	declared, defaults, err := declarations(subset, line)
	if err == nil {
		settings.Entity, err = entities(text, declared)
	}
	return bytes.NewReader(text), defaults, err
}

// asVersion10 gives a document of a later version 1.N as one of version 1.0, which is what libxml2 reads it as, with a
// warning (xmlParseXMLDecl); the decoder would refuse it.
func asVersion10(document io.Reader) io.Reader {
	buffered := bufio.NewReader(document)
	begin, _ := buffered.Peek(256) // what fails here fails when it is read
	if !bytes.Contains(begin, []byte("<?xml")) {
		return buffered
	}
	declaration := regexp.MustCompile(`^(\x{FEFF}?<\?xml\s+version\s*=\s*["'])1\.[0-9]+`).FindSubmatch(begin)
	if declaration == nil {
		return buffered
	}
	rewritten := append(bytes.Clone(declaration[1]), "1.0"...)
	_, _ = buffered.Discard(len(declaration[0]))
	return io.MultiReader(bytes.NewReader(rewritten), buffered)
}

// internalSubset gives what stands behind the bracket of <!DOCTYPE …[, "" for no such declaration, and its line. read is
// what was read of the document. What is wrong with the document is the parser's to say.
func internalSubset(document io.Reader, read *bytes.Buffer) (subset string, line int) {
	d := xml.NewDecoder(document)
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		from := d.InputOffset()
		token, err := d.RawToken()
		if err != nil {
			return "", 0
		}
		switch token.(type) {
		case xml.StartElement:
			return "", 0
		case xml.Directive:
			// As it is written: the token has blanks for comments, and so fewer lines.
			declaration := read.Bytes()[from:d.InputOffset()]
			// Up to the subset or, where there is none, the end (XML 1.0, 2.8).
			head := regexp.MustCompile(`^<!DOCTYPE\s+[^\s\[>]+(?:\s+(?:SYSTEM|PUBLIC\s+(?:"[^"]*"|'[^']*'))\s+(?:"[^"]*"|'[^']*'))?\s*[\[>]`).Find(declaration)
			if bytes.HasSuffix(head, []byte(">")) {
				return "", 0
			}
			line = 1 + bytes.Count(read.Bytes()[:from], []byte("\n")) + bytes.Count(head, []byte("\n"))
			return string(declaration[len(head):]), line
		}
	}
}

// attributeDefinition is one attribute of an <!ATTLIST>: its name, its type, and how it is by default.
const attributeDefinition = `\s+([^\s%&;<>'":]+)\s+(CDATA|ID|IDREFS?|ENTITY|ENTITIES|NMTOKENS?|(?:NOTATION\s+)?\([^()&%<>'"]*\))` +
	`\s+(?:#REQUIRED|#IMPLIED|(?:#FIXED\s+)?("[^"&<]*"|'[^'&<]*'))`

// declarations reads the general entities with a value and the default attributes out of an internal subset (XML 1.0,
// 2.8, 3.3 and 4.2). The first of a name counts. What else can change the document is refused, with its line.
func declarations(subset string, line int) (map[string]string, attributes, error) {
	between := regexp.MustCompile(`^(?:\s|<\?(?s:.*?)\?>|<!--(?s:.*?)-->)+`)
	entity := regexp.MustCompile(`^<!ENTITY\s+([^\s%&;<>'"]+)\s+(?:"([^"]*)"|'([^']*)')\s*>`)
	attlist := regexp.MustCompile(`^<!ATTLIST\s+([^\s%&;<>'"]+)((?:` + attributeDefinition + `)*)\s*>`)
	harmless := regexp.MustCompile(`^<!(?:ENTITY|ELEMENT|NOTATION)(?:[^>'"]|"[^"]*"|'[^']*')*>`)
	entities, defaults := map[string]string{}, attributes{}
	for rest := subset; ; {
		rest = rest[len(between.FindString(rest)):]
		if strings.HasPrefix(rest, "]") {
			return entities, defaults, nil
		}
		if m := entity.FindStringSubmatch(rest); m != nil {
			if _, known := entities[m[1]]; !known {
				entities[m[1]] = m[2] + m[3]
			}
		}
		declaration := harmless.FindString(rest)
		if m := attlist.FindStringSubmatch(rest); m != nil {
			declaration = m[0]
			defaults.declare(m[1], m[2])
		}
		if declaration == "" {
			line += strings.Count(subset[:len(subset)-len(rest)], "\n")
			return nil, nil, &declarationError{line, notUnderstood(rest)}
		}
		rest = rest[len(declaration):]
	}
}

// A declarationError says what of a document's declarations is not supported.
type declarationError struct {
	line int
	text string
}

// Error begins with the line.
func (e *declarationError) Error() string {
	return fmt.Sprintf("line %d: <!DOCTYPE>: %s", e.line, e.text)
}

// notUnderstood says what of a declaration is not supported.
func notUnderstood(rest string) string {
	if reference := regexp.MustCompile(`^%[^\s;]+;`).FindString(rest); reference != "" {
		return fmt.Sprintf("the parameter entity %s is not supported: write what it stands for", reference)
	}
	begin, _, _ := strings.Cut(rest, "\n")
	if strings.HasPrefix(rest, "<!ATTLIST") {
		return fmt.Sprintf("%.40q is not supported: only attributes without a prefix are, with a plain value, as in <!ATTLIST source dev CDATA 'eth0'>", begin)
	}
	return fmt.Sprintf("%.40q is not supported: only entities and default attributes are, as in <!ENTITY name 'value'>", begin)
}

// attributes has the attributes that are declared for elements, by the element's name as it is written.
type attributes map[string][]attributeDefault

type attributeDefault struct {
	name, value string
	has         bool // a value by default
	tokens      bool // blanks around it, and several in a row, count for nothing (XML 1.0, 3.3.3)
}

// declare adds the attributes of an <!ATTLIST>.
func (a attributes) declare(element, declared string) {
	for _, m := range regexp.MustCompile(attributeDefinition).FindAllStringSubmatch(declared, -1) {
		known := false
		for _, before := range a[element] {
			known = known || before.name == m[1]
		}
		if known {
			continue
		}
		def := attributeDefault{name: m[1], tokens: m[2] != "CDATA", has: m[3] != ""}
		if def.has {
			def.value = def.normal(blanks.Replace(m[3][1 : len(m[3])-1]))
		}
		a[element] = append(a[element], def)
	}
}

var blanks = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

// normal gives a value as a parser hands it out.
func (d attributeDefault) normal(value string) string {
	if !d.tokens {
		return value
	}
	return strings.Join(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), " ")
}

// apply gives an element and those in it the attributes that they have by default, as long as there is room: each look at
// an attribute takes some.
func (a attributes) apply(e *etree.Element, room *int) error {
	for _, def := range a[e.FullTag()] {
		if *room -= 1 + len(e.Attr); *room < 0 {
			return fmt.Errorf("its default attributes make it larger than %d MiB", MaxSize>>20)
		}
		given := false
		for i := range e.Attr {
			if e.Attr[i].FullKey() == def.name {
				e.Attr[i].Value, given = def.normal(e.Attr[i].Value), true
			}
		}
		if !given && def.has {
			e.CreateAttr(def.name, def.value)
		}
	}
	for _, child := range e.ChildElements() {
		if err := a.apply(child, room); err != nil {
			return err
		}
	}
	return nil
}
