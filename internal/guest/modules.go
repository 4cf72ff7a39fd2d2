package guest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ModulesList is the file in the initramfs that names its kernel modules, one
// path a line, in the order in which insmod takes them.
const ModulesList = "/modules.list"

// ErrNoModule says that a kernel has not got a module.
var ErrNoModule = errors.New("no module")

// AddModules adds kernel modules and all that they depend on, and keeps
// [ModulesList] up to date. A name is spelt as modprobe takes it, with - or _;
// one that is built into the kernel adds nothing. It fails with [ErrNoModule]
// on a name that the kernel has not got, and then leaves the initramfs as it was.
func (r *Initramfs) AddModules(names ...string) error {
	if r.kernel == nil {
		return errors.New("initramfs: modules need a kernel to come from")
	}
	deps, err := readModulesDep(r.kernel.ModulesDir)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	order := slices.Clone(r.modules)
	for _, name := range names {
		if order, err = deps.appendModule(order, name); err != nil {
			return fmt.Errorf("initramfs: kernel %s: %w", r.kernel.Release, err)
		}
	}
	inGuest := path.Join("/lib/modules", r.kernel.Release)
	var list strings.Builder
	for _, file := range order {
		name := path.Join(inGuest, file)
		if err := r.AddHostFile(name, filepath.Join(r.kernel.ModulesDir, file)); err != nil {
			return err
		}
		fmt.Fprintln(&list, name)
	}
	r.modules = order
	r.AddFile(ModulesList, 0o644, []byte(list.String()))
	return nil
}

// modulesDep is what depmod knows about a kernel's modules.
type modulesDep struct {
	file    map[string]string   // module name to its file, relative to the modules directory
	needs   map[string][]string // file to the files it depends on, directly or not
	builtin map[string]bool     // names of modules that are part of the kernel
}

// readModulesDep reads modules.dep and modules.builtin.
func readModulesDep(dir string) (*modulesDep, error) {
	deps := &modulesDep{file: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		file, needs, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("%s/modules.dep: line %q has no colon", dir, line)
		}
		deps.file[moduleName(file)] = file
		deps.needs[file] = strings.Fields(needs)
	}
	text, err = os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		deps.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return deps, nil
}

// appendModule appends the file of a module to order, after the files that it
// depends on, each unless it is there already.
func (d *modulesDep) appendModule(order []string, name string) ([]string, error) {
	name = moduleName(name)
	if d.builtin[name] {
		return order, nil
	}
	file, found := d.file[name]
	switch {
	case !found:
		return nil, fmt.Errorf("%w %q", ErrNoModule, name)
	case !strings.HasSuffix(file, ".ko"):
		// busybox's insmod takes plain modules only; KernelOf's are.
		return nil, fmt.Errorf("module %s is compressed", file)
	case slices.Contains(order, file):
		return order, nil
	}
	var err error
	for _, need := range d.needs[file] {
		if order, err = d.appendModule(order, need); err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
	}
	return append(order, file), nil
}

// moduleName returns the name of a module that is given by name or by file.
// The kernel itself writes names with underscores, whatever the file's name.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
