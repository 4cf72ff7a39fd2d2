package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/plan"
)

// A source is a domain XML whose rules have a file of their own.
type source struct {
	file   string // the XML
	golden string // where its rules are
}

// renderMany renders domain XML from files and folders, and compares with golden files
// or writes them. One that is wrong keeps no other from its turn.
func renderMany(ctx context.Context, std streams, o options, args []string) error {
	folder := o.check + o.output // one of them is ""
	if o.check != "" && o.output != "" {
		return badInput(errors.New("give either --check or --output"))
	}
	sources, whole, err := findSources(args, folder, "."+o.format)
	if err != nil {
		return badInput(err)
	}
	found, bad := &findings{std: std}, 0
	c, err := config.Load(o.config)
	if err != nil {
		found.addError(err)
		return badInput(errors.Join(err, found.report(o.codeQuality)))
	}
	for _, w := range c.Warnings {
		found.addLine(minor, w)
	}
	var old *config.Config
	if o.old != "" {
		if old, err = config.Load(o.old); err != nil {
			return badInput(err)
		}
	}
	network, err := renderNetwork(ctx, o)
	if err != nil {
		return err
	}
	for _, s := range sources {
		now, err := renderFile(ctx, std, o, c, network, s.file)
		for _, w := range now.made.Warnings {
			found.add(minor, s.file, 1, w.Text)
		}
		switch {
		case err != nil:
			bad++
			line := 1
			if wrong := new(domain.Error); errors.As(err, &wrong) {
				line = max(line, wrong.Line)
			}
			found.add(major, s.file, line, err.Error())
		case o.output != "":
			if err := writeGolden(std, s.golden, now.text); err != nil {
				return err
			}
		default:
			opens := func(golden string) error { return renderOpens(ctx, std, o, old, network, s, now, golden) }
			if err := found.compare(s, now.text, opens); err != nil {
				return err
			}
		}
	}
	if whole {
		if err := found.strays(sources, folder, "."+o.format); err != nil {
			return err
		}
	}
	if err := found.report(o.codeQuality); err != nil {
		return err
	}
	switch {
	case bad > 0:
		return badInput(fmt.Errorf("%d of %d files have no rules", bad, len(sources)))
	case found.majors() > 0:
		return errTold
	case o.check != "":
		notef(std, "%s as in %s", count(len(sources), "ruleset"), folder)
	}
	return nil
}

// A rendered is the rules of one domain XML, as they are printed, too.
type rendered struct {
	domain *domain.Domain
	made   plan.Plan
	text   string
}

// renderFile renders one domain XML.
func renderFile(ctx context.Context, std streams, o options, c *config.Config, network plan.Network, file string) (r rendered, err error) {
	r.domain, err = renderDomain(std.in, []string{file})
	if err == nil {
		err = assume(ctx, std, r.domain, c, network)
	}
	if err != nil {
		return r, err
	}
	noteNetworks(std, r.domain)
	made, err := plan.Make(r.domain, c, network)
	if err != nil {
		return r, err
	}
	var out strings.Builder
	r.made, err = made, printTables(&out, o.format, made.Tables)
	r.text = out.String()
	return r, err
}

// findSources gives the domain XML that files and folders hold, at any depth, and where
// the rules of each are in a folder. It reports whether all of it is from folders, so
// that a golden file without XML is a mistake.
func findSources(args []string, folder, extension string) (sources []source, whole bool, err error) {
	if len(args) == 0 {
		return nil, false, errors.New("name the domain XML: files, or folders of them")
	}
	whole = true
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, false, err
		}
		names := []string{filepath.Base(arg)}
		root := filepath.Dir(arg)
		if whole = whole && info.IsDir(); info.IsDir() {
			root = arg
			if names, err = filesBelow(arg, ".xml"); err != nil {
				return nil, false, err
			}
			if len(names) == 0 {
				return nil, false, fmt.Errorf("%s: no *.xml in it", arg)
			}
		}
		for _, name := range names {
			golden := filepath.Join(folder, strings.TrimSuffix(name, filepath.Ext(name))+extension)
			s := source{file: filepath.Join(root, name), golden: golden}
			if i := slices.IndexFunc(sources, func(other source) bool { return other.golden == golden }); i >= 0 {
				return nil, false, fmt.Errorf("%s and %s: the rules of both would be in %s", sources[i].file, s.file, golden)
			}
			sources = append(sources, s)
		}
	}
	return sources, whole, nil
}

// filesBelow lists the files of that extension in a folder, by their paths from there,
// sorted. A folder that does not exist has none.
func filesBelow(folder, extension string) ([]string, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == extension {
			names = append(names, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// writeGolden writes rules to their file, if they are not there already.
func writeGolden(std streams, file, text string) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	notef(std, "wrote %s", file)
	return nil
}

// compare prints how rules differ from their golden file, after what that opens and closes, and
// finds that they do.
func (f *findings) compare(s source, text string, opens func(golden string) error) error {
	golden, err := os.ReadFile(s.golden)
	if errors.Is(err, fs.ErrNotExist) {
		f.add(major, s.file, 1, fmt.Sprintf("its rules have no golden file %s: write it with --output, and review it", s.golden))
		return nil
	}
	if err != nil || string(golden) == text {
		return err
	}
	if err := opens(string(golden)); err != nil {
		return err
	}
	fmt.Fprint(f.std.out, unified(s.golden, string(golden), "rendered from "+s.file, text))
	f.add(major, s.golden, firstDifference(string(golden), text), fmt.Sprintf("the rules of %s are others from here on: if they should be, write them with --output, and review them", s.file))
	return nil
}

// firstDifference gives the number of the first line that is not the same.
func firstDifference(a, b string) int {
	as, bs := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	for i := range as {
		if i >= len(bs) || as[i] != bs[i] {
			return i + 1
		}
	}
	return len(as)
}

// strays finds golden files that no domain XML has.
func (f *findings) strays(sources []source, folder, extension string) error {
	names, err := filesBelow(folder, extension)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := filepath.Join(folder, name)
		if !slices.ContainsFunc(sources, func(s source) bool { return s.golden == file }) {
			f.add(major, file, 1, "no domain XML has these rules any more: delete the file")
		}
	}
	return nil
}
