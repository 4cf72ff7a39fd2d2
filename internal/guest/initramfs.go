package guest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/cavaliergopher/cpio"
)

// An Initramfs is a root file system that the kernel unpacks into memory. Its
// owner adds an executable /init, which the kernel starts.
//
// Paths in it are absolute; the directories above a file come by themselves. A
// path added twice holds what was added last. The zero Initramfs is not usable:
// see [NewInitramfs].
type Initramfs struct {
	kernel  *KernelImage
	files   map[string]file
	modules []string // paths in the initramfs, each after those it depends on
}

// A file is one entry: a directory, a symbolic link whose content is its
// target, or a regular file.
type file struct {
	mode    cpio.FileMode
	content []byte
}

// NewInitramfs returns an initramfs with nothing in it but the usual empty
// directories. Modules come from k, which may be nil if none are added.
func NewInitramfs(k *KernelImage) *Initramfs {
	r := &Initramfs{kernel: k, files: map[string]file{}}
	for _, dir := range []string{"/dev", "/proc", "/root", "/run", "/sys", "/tmp"} {
		r.AddDir(dir)
	}
	return r
}

// AddFile adds a regular file with the permissions of mode.
func (r *Initramfs) AddFile(name string, mode fs.FileMode, content []byte) {
	r.add(name, file{cpio.TypeReg | cpio.FileMode(mode.Perm()), content})
}

// AddDir adds an empty directory. Those that files are in come by themselves.
func (r *Initramfs) AddDir(name string) {
	r.add(name, file{cpio.TypeDir | 0o755, nil})
}

// AddSymlink adds a symbolic link to target, which need not exist.
func (r *Initramfs) AddSymlink(name, target string) {
	r.add(name, file{cpio.TypeSymlink | 0o777, []byte(target)})
}

// AddHostFile adds the content and permissions of a file of the host; of a
// symbolic link, what it leads to. The error is that of reading hostPath.
func (r *Initramfs) AddHostFile(name, hostPath string) error {
	info, err := os.Stat(hostPath)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	content, err := os.ReadFile(hostPath)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	r.AddFile(name, info.Mode(), content)
	return nil
}

// AddHostDir adds all regular files below a directory of the host, under name.
// Anything else in it (links, sockets) is an error, as is failing to read it.
func (r *Initramfs) AddHostDir(name, hostDir string) error {
	return fs.WalkDir(os.DirFS(hostDir), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("initramfs: %s: %w", hostDir, err)
		case d.IsDir():
			r.AddDir(path.Join(name, p))
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("initramfs: %s: not a regular file", path.Join(hostDir, p))
		}
		return r.AddHostFile(path.Join(name, p), path.Join(hostDir, p))
	})
}

// WriteFile writes the initramfs to a file of the host, in the form the kernel
// takes: a gzipped cpio archive. The same entries give the same bytes.
func (r *Initramfs) WriteFile(hostPath string) (err error) {
	f, err := os.Create(hostPath)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("initramfs %s: %w", hostPath, err)
		}
	}()
	// Unpacking is cheap at any level; packing is what a test waits for.
	zw, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	cw := cpio.NewWriter(zw)
	// Sorted, so that every directory comes before what is in it.
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if err := writeEntry(cw, name, r.files[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return errors.Join(cw.Close(), zw.Close())
}

// writeEntry writes one entry. A symbolic link's target is its content.
func writeEntry(w *cpio.Writer, name string, f file) error {
	hdr := &cpio.Header{Name: name[1:], Mode: f.mode, Size: int64(len(f.content)), Links: 1}
	if err := w.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := w.Write(f.content)
	return err
}

// add sets one entry, and those of the directories above it.
func (r *Initramfs) add(name string, f file) {
	name = path.Join("/", name)
	if name == "/" {
		return
	}
	if dir := path.Dir(name); r.files[dir].mode == 0 {
		r.AddDir(dir)
	}
	r.files[name] = f
}
