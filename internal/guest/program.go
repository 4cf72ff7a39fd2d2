package guest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"strings"
)

// AddBusybox adds the host's busybox as /bin/busybox, with a link in /bin for
// each program that it can be. It fails when the host has none, or one that is
// not static (Debian's package is busybox-static).
func (r *Initramfs) AddBusybox() error {
	busybox, err := hostProgram("busybox")
	if err != nil {
		return fmt.Errorf("initramfs: %w (install busybox-static)", err)
	}
	if dynamic, err := isDynamic(busybox); err != nil {
		return err
	} else if dynamic {
		return fmt.Errorf("initramfs: %s is not static (install busybox-static)", busybox)
	}
	applets, err := command(context.Background(), "", busybox, "--list")
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	for _, applet := range strings.Fields(applets) {
		r.AddSymlink(path.Join("/bin", applet), "busybox")
	}
	return r.AddHostFile("/bin/busybox", busybox)
}

// AddProgram adds a program of the host under its own path, with the shared
// libraries it is linked to. A guest whose PATH has /bin last finds it before
// busybox's program of the same name. It fails when the file is no program, and
// when a library is missing.
func (r *Initramfs) AddProgram(hostPath string) error {
	dynamic, err := isDynamic(hostPath)
	if err != nil {
		return err
	}
	if dynamic {
		libraries, err := libraries(hostPath)
		if err != nil {
			return err
		}
		for _, library := range libraries {
			if err := r.AddHostFile(library, library); err != nil {
				return err
			}
		}
	}
	return r.AddHostFile(hostPath, hostPath)
}

// isDynamic reports whether a program asks for a dynamic loader.
func isDynamic(hostPath string) (bool, error) {
	f, err := elf.Open(hostPath)
	if err != nil {
		return false, fmt.Errorf("initramfs: program %s: %w", hostPath, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// libraries returns the paths of the shared libraries, the loader included,
// that ldd finds for a program.
func libraries(hostPath string) ([]string, error) {
	out, err := command(context.Background(), "", "ldd", hostPath)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var paths []string
	for line := range strings.Lines(out) {
		// "libm.so.6 => /lib/libm.so.6 (0x…)", "/lib64/ld.so (0x…)", or a
		// name without a file for what the kernel itself maps.
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("initramfs: program %s: %s", hostPath, strings.TrimSpace(line))
		}
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				paths = append(paths, strings.TrimSuffix(word, ":"))
			}
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("initramfs: program %s: %w", hostPath, errors.New("ldd names no library"))
	}
	return paths, nil
}
