package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// maxMistakes bounds how many mistakes are told of a configuration.
const maxMistakes = 20

// An Error is all that is wrong with a configuration, as far as it can be seen at once.
type Error struct {
	Mistakes []Mistake // in the order of the files, at least one
	More     int       // that are not among them
}

// mistaken is the error of mistakes, nil for none.
func mistaken(all []Mistake) error {
	if len(all) == 0 {
		return nil
	}
	few := all[:min(len(all), maxMistakes)]
	return &Error{Mistakes: few, More: len(all) - len(few)}
}

// Error gives the first mistake, and how many there are beside it, in one line: libvirt
// shows a hook's errors so.
func (e *Error) Error() string {
	switch more := len(e.Mistakes) - 1 + e.More; {
	case more > 0:
		return fmt.Sprintf("%v (and %d more: \"macvtap-filter check\" lists them)", e.Mistakes[0], more)
	default:
		return e.Mistakes[0].String()
	}
}

// A Mistake is one thing that is wrong in a configuration file.
type Mistake struct {
	File         string
	Line, Column int // from 1, the column in characters; 0 where it is the file as a whole
	Text         string

	excerpt string
}

// String gives a mistake in the form of compilers, which editors can follow.
func (m Mistake) String() string {
	if m.Line == 0 {
		return m.File + ": " + m.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Excerpt gives the line that the mistake is in, and below it a caret at its place: two
// lines, or none where it is in no line. It is meant for a terminal.
func (m Mistake) Excerpt() string { return m.excerpt }

// mistakeAt tells of a mistake at an offset in a file's text, or of the file as a whole
// where that is negative.
func mistakeAt(file string, content []byte, offset int, text string) Mistake {
	m := Mistake{File: file, Text: text}
	if offset < 0 {
		return m
	}
	offset = min(offset, len(content))
	begin := 1 + bytes.LastIndexByte(content[:offset], '\n')
	line, _, _ := bytes.Cut(content[begin:], []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	at := min(offset-begin, len(line))
	m.Line = 1 + bytes.Count(content[:begin], []byte("\n"))
	m.Column = 1 + utf8.RuneCount(line[:at])
	number := strconv.Itoa(m.Line)
	before, after := shown(line[:at]), shown(line[at:])
	if len(before)+len(after) > widest {
		before, after = cutLeft(before, widest/2), cutRight(after, widest/2)
	}
	m.excerpt = fmt.Sprintf("%5s | %s\n%5s | %s^\n", number, strings.TrimRight(string(before)+string(after), " "), "", strings.Repeat(" ", uniseg.StringWidth(string(before))))
	return m
}

// widest is how many characters of a line are shown.
const widest = 100

// shown gives what a terminal is to show of a text: a tab is some blanks, so that the caret
// stands right, and nothing is there that a terminal would obey.
func shown(text []byte) []rune {
	var out []rune
	for _, r := range string(text) {
		switch {
		case r == '\t':
			out = append(out, []rune("    ")...)
		case unicode.IsPrint(r):
			out = append(out, r)
		default:
			out = append(out, '?')
		}
	}
	return out
}

func cutLeft(text []rune, most int) []rune {
	if len(text) <= most {
		return text
	}
	return append([]rune("…"), text[len(text)-most:]...)
}

func cutRight(text []rune, most int) []rune {
	if len(text) <= most {
		return text
	}
	return append(text[:most:most], '…')
}
