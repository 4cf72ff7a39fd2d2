package doc

import (
	"fmt"
	"os"
	"strings"
)

// Block gives what stands in a Markdown file between the lines <!-- name --> and
// <!-- /name -->: what a program wrote there. The error says that the file cannot be
// read, or has no such lines.
func Block(file, name string) (string, error) {
	_, block, _, err := cut(file, name)
	return block, err
}

// SetBlock puts text, which ends with a line's end, in the place of a file's block.
func SetBlock(file, name, text string) error {
	head, _, tail, err := cut(file, name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(head+text+tail), 0o644)
}

func cut(file, name string) (head, block, tail string, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", "", "", err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, begins := strings.Cut(string(content), begin)
	block, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", "", "", fmt.Errorf("%s has no place for %q: no line %s before one %s", file, name, strings.TrimSpace(begin), end)
	}
	return before + begin, block, end + after, nil
}
