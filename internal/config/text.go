package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is what the folder beside a configuration file is called whose files belong to it.
const Folder = "conf.d"

// A Text is what was read of a configuration: its file, and those of the folder, which
// stand behind it by their names.
type Text struct{ sources []*source }

// Read reads a configuration, for Parse. Its errors are those of Load.
func Read(file string) (Text, error) {
	content, err := read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && file == "":
		return Text{}, errors.New("no configuration: --config names no file")
	case errors.Is(err, fs.ErrNotExist):
		return Text{}, fmt.Errorf("no configuration: write %s with at least a line like: parents = [\"eth0\"]", file)
	case err != nil:
		return Text{}, fmt.Errorf("configuration: %w", err)
	}
	t := Text{[]*source{newSource(file, content)}}
	names, err := Beside(file)
	if err != nil {
		return Text{}, fmt.Errorf("configuration: %w", err)
	}
	for _, name := range names {
		content, err := read(name)
		if err != nil {
			return Text{}, fmt.Errorf("configuration: %w", err)
		}
		t.sources = append(t.sources, newSource(name, content))
	}
	return t, nil
}

// Hash is one of all that was read, in hexadecimal: two hosts that say the same have the same,
// wherever the first file stands. It proves nothing: what crypto initialises, each hook would pay.
func (t Text) Hash() string {
	sum := fnv.New128a()
	for n, s := range t.sources {
		name := ""
		if n > 0 {
			name = filepath.Base(s.file)
		}
		fmt.Fprintf(sum, "%q %d\n%s", name, len(s.text), s.text)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Beside gives the files that belong to a configuration file, by their names: those of the
// folder that end in ".toml" and that programs which list it show. What is no file, such as
// a folder, is none of them; nor is one that went away meanwhile.
func Beside(file string) ([]string, error) {
	folder := filepath.Join(filepath.Dir(file), Folder)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || filepath.Ext(e.Name()) != ".toml" {
			continue
		}
		name := filepath.Join(folder, e.Name())
		info, failure := os.Stat(name)
		switch {
		case failure == nil && info.Mode().IsRegular():
			out = append(out, name)
		case failure != nil && (e.Type()&fs.ModeSymlink != 0 || !errors.Is(failure, fs.ErrNotExist)):
			err = errors.Join(err, failure)
		}
	}
	return out, err
}

// newSource takes in what was read of a file. Editors on Windows begin it with a byte order
// mark, and TOML does not say what that is.
func newSource(file string, content []byte) *source {
	return &source{file, bytes.TrimPrefix(content, []byte("\ufeff"))}
}

// Files names the files, in their order.
func (t Text) Files() []string {
	var out []string
	for _, s := range t.sources {
		out = append(out, s.file)
	}
	return out
}

// Equal reports whether two texts are the same, in the same files.
func (t Text) Equal(o Text) bool {
	return slices.EqualFunc(t.sources, o.sources, func(a, b *source) bool { return a.file == b.file && bytes.Equal(a.text, b.text) })
}
