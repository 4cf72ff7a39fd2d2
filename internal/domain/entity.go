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
)

// entities gives the general entities that a document declares of its own, with the text
// that stands for each. The parser puts that into the place of each reference, as text. So
// does libvirt, in a way: of an entity with markup it reads the text, and sees no
// element of it (without XML_PARSE_NOENT, libxml2 leaves such a reference a node of its
// own). One that is not well-formed is none here, and a reference to it an error, as is
// one to an entity in another file: nothing is fetched.
func entities(document []byte, declared map[string]string) (map[string]string, error) {
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
	if err != nil {
		return "", errNoText
	}
	if strings.Contains(value, "<") {
		return e.textOf(value, depth)
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

// textOf gives the text of a value with markup, all that libxml2's xmlNodeGetContent gives: that of
// comments and processing instructions is part of it.
func (e *expansion) textOf(value string, depth int) (string, error) {
	d := xml.NewDecoder(strings.NewReader(value))
	d.Entity = map[string]string{}
	for _, m := range regexp.MustCompile(`&([^\s&#;]+);`).FindAllStringSubmatch(value, -1) {
		if _, is := predefined[m[1]]; is {
			continue
		}
		text, err := e.entity(m[1], depth+1)
		if e.room -= 1 + len(text); e.room < 0 || err != nil {
			return "", errNoText
		}
		d.Entity[m[1]] = text
	}
	var out strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return "", errNoText
		}
		switch t := token.(type) {
		case xml.CharData:
			out.Write(t)
		case xml.Comment:
			out.Write(t)
		case xml.ProcInst:
			out.Write(t.Inst)
		}
	}
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
