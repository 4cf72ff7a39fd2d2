package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Variables that name a kernel other than Debian's for [Kernel]. They go
// together: a bzImage, and its /lib/modules/RELEASE with depmod's modules.dep.
const (
	vmlinuzVariable = "MACVTAP_FILTER_VMLINUZ"
	modulesVariable = "MACVTAP_FILTER_MODULES"
)

// A KernelImage is an unpacked kernel package.
type KernelImage struct {
	Vmlinuz    string // path of the bootable image
	ModulesDir string // path of lib/modules/RELEASE, which holds modules.dep
	Release    string // what uname -r will say, such as 6.1.0-56-cloud-amd64
}

// Version returns the part of the release that says which Linux this is, such
// as "6.1".
func (k *KernelImage) Version() string {
	parts := strings.SplitN(k.Release, ".", 3)
	if len(parts) < 2 {
		return k.Release
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	return parts[0] + "." + minor
}

// Kernel returns the kernel that Debian's linux-image-cloud-amd64 depends on,
// downloading and unpacking it on first use; later calls find it in the user's
// cache and need no network. The variables MACVTAP_FILTER_VMLINUZ and
// MACVTAP_FILTER_MODULES (a /lib/modules/RELEASE directory) name another one.
//
// It fails when apt knows no such package (apt-get update was never run), when
// the package cannot be downloaded, and when ctx ends.
func Kernel(ctx context.Context) (*KernelImage, error) {
	vmlinuz, modules := os.Getenv(vmlinuzVariable), os.Getenv(modulesVariable)
	if vmlinuz != "" || modules != "" {
		return namedKernel(vmlinuz, modules)
	}
	pkg, err := machineApt.newest(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := kernelCache()
	if err != nil {
		return nil, err
	}
	return unpacked(ctx, machineApt, pkg, cache)
}

// KernelOf returns Debian's newest cloud kernel of a version such as "6.12". It is
// looked for in the user's cache, among the packages that the machine's apt knows,
// and in other suites of the mirror that apt uses, in this order.
//
// It fails when none of them has such a kernel, and as [Kernel] does.
func KernelOf(ctx context.Context, version string) (*KernelImage, error) {
	cache, err := kernelCache()
	if err != nil {
		return nil, err
	}
	cached, err := filepath.Glob(filepath.Join(cache, "linux-image-"+version+".*"))
	if err != nil {
		return nil, fmt.Errorf("kernel %q: %w", version, err)
	}
	if dir := last(cached); dir != "" {
		return kernelIn(dir)
	}
	pkg, err := machineApt.newestOf(ctx, version)
	if err != nil {
		return nil, err
	}
	if pkg != "" {
		return unpacked(ctx, machineApt, pkg, cache)
	}
	others, err := suitesApt(ctx, filepath.Join(filepath.Dir(cache), "apt"))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", version, err)
	}
	if pkg, err = others.newestOf(ctx, version); err != nil {
		return nil, err
	}
	if pkg == "" {
		return nil, fmt.Errorf("kernel %s: no package among apt's own, nor in Debian's %s", version, strings.Join(suites, ", "))
	}
	return unpacked(ctx, others, pkg, cache)
}

// kernelCache is the directory in which each kernel package is unpacked.
func kernelCache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("kernel cache: %w", err)
	}
	return filepath.Join(cache, "macvtap-filter", "kernels"), nil
}

// unpacked returns the kernel of a package, which it fetches unless it is in the
// cache.
func unpacked(ctx context.Context, a apt, pkg, cache string) (*KernelImage, error) {
	dir := filepath.Join(cache, pkg)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := a.fetch(ctx, pkg, dir); err != nil {
			return nil, fmt.Errorf("kernel package %s: %w", pkg, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	return kernelIn(dir)
}

// kernelIn is the kernel in a directory of the cache.
func kernelIn(dir string) (*KernelImage, error) {
	k, err := unpackedKernel(dir)
	if err != nil {
		return nil, fmt.Errorf("%w (remove %s to fetch it again)", err, dir)
	}
	return k, nil
}

// namedKernel is the kernel that the two variables name.
func namedKernel(vmlinuz, modules string) (*KernelImage, error) {
	if vmlinuz == "" || modules == "" {
		return nil, fmt.Errorf("%s and %s must be set together", vmlinuzVariable, modulesVariable)
	}
	if _, err := os.Stat(vmlinuz); err != nil {
		return nil, fmt.Errorf("%s: %w", vmlinuzVariable, err)
	}
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil {
		return nil, fmt.Errorf("%s: run depmod first: %w", modulesVariable, err)
	}
	return &KernelImage{Vmlinuz: vmlinuz, ModulesDir: modules, Release: filepath.Base(modules)}, nil
}

// unpackedKernel finds the parts of a kernel package unpacked into dir. The image
// is among the modules since Linux 7.0.
func unpackedKernel(dir string) (*KernelImage, error) {
	modules, err := one(filepath.Join(dir, "lib", "modules", "*"))
	if err != nil {
		return nil, err
	}
	k := &KernelImage{Vmlinuz: filepath.Join(modules, "vmlinuz"), ModulesDir: modules, Release: filepath.Base(modules)}
	if _, err := os.Stat(k.Vmlinuz); err == nil {
		return k, nil
	}
	k.Vmlinuz, err = one(filepath.Join(dir, "boot", "vmlinuz-*"))
	return k, err
}

// one returns the single path that matches pattern.
func one(pattern string) (string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("%s: %w", pattern, err)
	}
	if len(paths) != 1 {
		return "", fmt.Errorf("%s: %d files, want exactly one", pattern, len(paths))
	}
	return paths[0], nil
}
