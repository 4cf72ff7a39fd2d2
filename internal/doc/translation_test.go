package doc

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
)

// A translated page says what the page says: the same sections, with as many paragraphs, entries and rows, about the
// same commands, keys and files.
func TestTranslations(t *testing.T) {
	const suffix = ".zh-CN.md"
	translated := slices.DeleteFunc(allPages(t), func(page string) bool { return !strings.HasSuffix(page, suffix) })
	if !slices.Contains(translated, filepath.Join(moduleRoot, "README"+suffix)) {
		t.Fatalf("the translated README is not among %q", translated)
	}
	for _, file := range translated {
		page := strings.TrimSuffix(file, suffix) + ".md"
		if diff := cmp.Diff(outline(t, page), outline(t, file)); diff != "" {
			t.Errorf("%s does not follow %s (-page, +translation):\n%s", filepath.Base(file), filepath.Base(page), diff)
		}
	}
}

// A section is what a translation keeps of one.
type section struct {
	Blocks []string // headings, paragraphs, lists and tables, with their sizes
	Code   []string // what is set as code, each once
	Links  []string
}

// comments of commands and configurations are translated.
var comments = regexp.MustCompile(`(?m)(^|\s+)#.*$`)

// outline gives a page's sections, each up to the next heading.
func outline(t *testing.T, file string) []section {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sections := []section{{}}
	visit := func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if _, is := n.(*ast.Heading); is {
			sections = append(sections, section{})
		}
		s := &sections[len(sections)-1]
		switch n := n.(type) {
		case *ast.Heading:
			s.Blocks = append(s.Blocks, fmt.Sprintf("heading of level %d", n.Level))
		case *ast.Paragraph, *ast.ListItem:
			s.Blocks = append(s.Blocks, n.Kind().String())
		case *tables.Table:
			s.Blocks = append(s.Blocks, fmt.Sprintf("table of %d rows", n.ChildCount()))
		case *ast.CodeBlock:
			s.Blocks = append(s.Blocks, fmt.Sprintf("%d lines of code", n.Lines().Len()))
			s.Code = append(s.Code, comments.ReplaceAllString(string(n.Lines().Value(content)), ""))
		case *ast.FencedCodeBlock:
			s.Code = append(s.Code, comments.ReplaceAllString(string(n.Lines().Value(content)), ""))
		case *ast.CodeSpan:
			s.Code = append(s.Code, words(n, content))
		case *ast.Link:
			s.Links = append(s.Links, string(n.Destination))
		case *ast.Image:
			s.Links = append(s.Links, string(n.Destination))
		}
		return ast.WalkContinue, nil
	}
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	if err := ast.Walk(markdown.Parser().Parse(text.NewReader(content)), visit); err != nil {
		t.Fatal(err)
	}
	for i := range sections {
		s := &sections[i]
		for j := range s.Links { // each language has its own page
			s.Links[j] = strings.Replace(s.Links[j], ".zh-CN.md", ".md", 1)
		}
		slices.Sort(s.Links)
		slices.Sort(s.Code)
		s.Code = slices.Compact(s.Code)
	}
	return sections
}
