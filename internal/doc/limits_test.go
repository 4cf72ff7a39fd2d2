package doc

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Lines that limit something to seconds and may: what the test wants to be over, and what ends something that decides
// nothing.
var meant = []string{"// meant to be over", "// decides nothing"}

// No test waits seconds for what should happen: on a busy machine it would fail. A limit that only ends what hangs is of
// minutes, and one that the test wants to be over says so. The program itself waits as package patience says, which tests
// lengthen, or for a variable that they set.
func TestNoShortLimits(t *testing.T) {
	files := 0
	set := token.NewFileSet()
	short := map[string]map[string]bool{} // constants of seconds, by folder
	parsed := map[string]*ast.File{}
	err := filepath.WalkDir(moduleRoot, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		files++
		parsed[path], err = parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err == nil {
			noteConstants(parsed[path], folderOf(short, path))
		}
		return err
	})
	if err != nil || files < 300 {
		t.Fatalf("looked into %d files: %v", files, err)
	}
	for path, file := range parsed {
		for _, number := range shortLimits(set, file, folderOf(short, path), !strings.HasSuffix(path, "_test.go")) {
			if line := lineOf(t, path, number); !slices.ContainsFunc(meant, func(m string) bool { return strings.HasSuffix(line, m) }) {
				t.Errorf("%s:%d: a limit of seconds, want one of minutes or of package patience, or one of %q: %s", path, number, meant, strings.TrimSpace(line))
			}
		}
	}
}

func folderOf(short map[string]map[string]bool, path string) map[string]bool {
	folder := filepath.Dir(path)
	if short[folder] == nil {
		short[folder] = map[string]bool{}
	}
	return short[folder]
}

// noteConstants notes the constants of a file that are seconds, or less.
func noteConstants(file *ast.File, short map[string]bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if decl, is := n.(*ast.GenDecl); is && decl.Tok == token.CONST {
			for _, spec := range decl.Specs {
				values := spec.(*ast.ValueSpec)
				for i, value := range values.Values {
					short[values.Names[i].Name] = isShort(value, nil)
				}
			}
		}
		return true
	})
}

// shortLimits gives the lines on which something is waited for at most for seconds. In the program, a pause is none.
func shortLimits(set *token.FileSet, file *ast.File, short map[string]bool, program bool) (lines []int) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is || len(call.Args) == 0 {
			return true
		}
		function, is := call.Fun.(*ast.SelectorExpr)
		if !is {
			return true
		}
		limits := []string{"WithTimeout", "DialTimeout", "SetTimeout", "SetSocketTimeout", "Add"}
		if !program {
			limits = append(limits, "After")
		}
		if slices.Contains(limits, function.Sel.Name) && isShort(call.Args[len(call.Args)-1], short) {
			lines = append(lines, set.Position(call.Pos()).Line)
		}
		return true
	})
	return lines
}

// isShort says that a time is of seconds, or less: some of them, or a constant that is. One that is taken off is none.
func isShort(e ast.Expr, short map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return isShort(e.X, short) || isShort(e.Y, short)
	case *ast.ParenExpr:
		return isShort(e.X, short)
	case *ast.Ident:
		return short[e.Name]
	case *ast.SelectorExpr:
		of, is := e.X.(*ast.Ident)
		return is && of.Name == "time" && slices.Contains([]string{"Second", "Millisecond", "Microsecond"}, e.Sel.Name)
	}
	return false
}

func lineOf(t *testing.T, path string, number int) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")[number-1]
}
