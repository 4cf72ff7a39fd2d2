package doc

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// moduleRoot is the checkout, from here.
const moduleRoot = "../.."

// Every link of every page to a file of the project leads to one, and one to a heading to a heading.
func TestLinks(t *testing.T) {
	pages := allPages(t)
	if !slices.Contains(pages, filepath.Join(moduleRoot, "README.md")) {
		t.Fatalf("README.md is not among the pages %q", pages)
	}
	checked := 0
	for _, file := range pages {
		p := readPage(t, file)
		for _, link := range p.links {
			if local(link) {
				checked++
			}
			if err := follow(t, file, link); err != nil {
				t.Errorf("%s: the link %q: %v", strings.TrimPrefix(file, moduleRoot+"/"), link, err)
			}
		}
	}
	if checked == 0 {
		t.Error("no page has a link to a file: this test shows nothing")
	}
	t.Logf("%d links of %d pages", checked, len(pages))
}

// Links that lead nowhere are seen.
func TestLinksThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	write := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("there.md", "# One & two\n\n# 安装 it\n\n# One & two\n\n```\n# no heading\n```\n")
	write("page.md", strings.Join([]string{
		"[a](there.md)", "[b](there.md#one--two)", "[c](there.md#one--two-1)", "[d](there.md#%E5%AE%89%E8%A3%85-it)", "[e](https://example.org/gone)",
		"[f](gone.md)", "[g](there.md#no-heading)", "![h](gone.svg)", "[i][ref]", "<img src=\"gone.png\">", "`[j](code.md)`", "[k](#here)",
		"\n[ref]: gone/folder\n",
	}, "\n"))
	var wrong []string
	for _, link := range readPage(t, page).links {
		if follow(t, page, link) != nil {
			wrong = append(wrong, link)
		}
	}
	slices.Sort(wrong)
	want := []string{"#here", "gone.md", "gone.png", "gone.svg", "gone/folder", "there.md#no-heading"}
	if !slices.Equal(wrong, want) {
		t.Errorf("links that lead nowhere: %q, want %q", wrong, want)
	}
}

// allPages gives the project's Markdown files: those that git knows or would take, or all of a copy without git.
func allPages(t *testing.T) []string {
	t.Helper()
	var pages []string
	list := exec.CommandContext(t.Context(), "git", "-C", moduleRoot, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md")
	if out, err := list.Output(); err == nil {
		for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
			pages = append(pages, filepath.Join(moduleRoot, name))
		}
		return pages
	}
	err := filepath.WalkDir(moduleRoot, func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// A page is what links begin and end in.
type page struct {
	links   []string
	anchors map[string]bool
}

// source finds what raw HTML in a page refers to.
var source = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)

func readPage(t *testing.T, file string) page {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := page{anchors: map[string]bool{}}
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	visit := func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.Heading:
			p.addAnchor(words(n, content))
		case *ast.RawHTML:
			p.addSources(n.Segments, content)
		case *ast.HTMLBlock:
			p.addSources(n.Lines(), content)
		}
		return ast.WalkContinue, nil
	}
	if err := ast.Walk(markdown.Parser().Parse(text.NewReader(content)), visit); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *page) addSources(html *text.Segments, content []byte) {
	for i := range html.Len() {
		segment := html.At(i)
		for _, found := range source.FindAllStringSubmatch(string(segment.Value(content)), -1) {
			p.links = append(p.links, found[1])
		}
	}
}

// words is the text of a heading, whatever it is set in.
func words(n ast.Node, content []byte) string {
	var b strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		if t, ok := child.(*ast.Text); ok {
			b.Write(t.Segment.Value(content))
			continue
		}
		b.WriteString(words(child, content))
	}
	return b.String()
}

// addAnchor makes a heading's anchor as GitHub does: in lower case, letters, digits, hyphens and underscores alone,
// hyphens for spaces, and a number after one that is there already.
func (p *page) addAnchor(heading string) {
	anchor := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
	name := anchor
	for i := 1; p.anchors[name]; i++ {
		name = fmt.Sprintf("%s-%d", anchor, i)
	}
	p.anchors[name] = true
}

// local reports whether a link is to a file of the project.
func local(link string) bool {
	u, err := url.Parse(link)
	return err != nil || u.Scheme == "" && u.Host == ""
}

// follow fails unless a page's link leads to a file, and to a heading of it if it names one. Links to elsewhere are nobody's
// business here.
func follow(t *testing.T, file, link string) error {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || !local(link) {
		return err
	}
	to := file
	if u.Path != "" {
		to = filepath.Join(filepath.Dir(file), filepath.FromSlash(u.Path))
	}
	if _, err := os.Stat(to); err != nil {
		return err
	}
	if u.Fragment != "" && filepath.Ext(to) == ".md" && !readPage(t, to).anchors[u.Fragment] {
		return fmt.Errorf("%s has no heading %q", filepath.Base(to), u.Fragment)
	}
	return nil
}

// The map of the architecture has every package.
func TestMap(t *testing.T) {
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{"cmd", "internal"} {
		packages, err := os.ReadDir(filepath.Join(moduleRoot, parent))
		if err != nil || len(packages) == 0 {
			t.Fatalf("%s: %d packages, %v", parent, len(packages), err)
		}
		for _, p := range packages {
			if name := "`" + parent + "/" + p.Name() + "`"; !strings.Contains(string(page), "| "+name) && !strings.Contains(string(page), ", "+name) {
				t.Errorf("the map in architecture.md has no %s", name)
			}
		}
	}
}
