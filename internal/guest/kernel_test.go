package guest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVersion(t *testing.T) {
	for release, want := range map[string]string{
		"6.1.0-56-cloud-amd64": "6.1",
		"6.18.44":              "6.18",
		"6.19-rc1":             "6.19",
		"odd":                  "odd",
	} {
		if got := (&KernelImage{Release: release}).Version(); got != want {
			t.Errorf("%s: got %s, want %s", release, got, want)
		}
	}
}

func TestNamedKernel(t *testing.T) {
	k := testKernel(t)
	if _, err := namedKernel(k.ModulesDir, ""); err == nil {
		t.Error("an image alone was taken")
	}
	if _, err := namedKernel(k.ModulesDir+"/missing", k.ModulesDir); err == nil {
		t.Error("a missing image was taken")
	}
	if _, err := namedKernel(k.ModulesDir, t.TempDir()); err == nil {
		t.Error("modules without modules.dep were taken")
	}
	got, err := namedKernel(k.ModulesDir+"/modules.dep", k.ModulesDir)
	if err != nil || got.Release != k.Release {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNewestOfNames(t *testing.T) {
	for want, names := range map[string][]string{
		"":                                       nil,
		"linux-image-6.1.0-56-cloud-amd64":       {"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-10-cloud-amd64"},
		"linux-image-6.12.117+deb13-cloud-amd64": {"linux-image-6.12.95+deb12-cloud-amd64", "linux-image-6.12.117+deb13-cloud-amd64"},
		"linux-image-6.12.90+deb12.1-cloud":      {"linux-image-6.12.90+deb12.1-cloud", "linux-image-6.12.90+deb12-cloud"},
	} {
		if got := last(names); got != want {
			t.Errorf("%q: got %q, want %q", names, got, want)
		}
	}
}

// A package's image is in /boot, or beside the modules.
func TestUnpackedKernel(t *testing.T) {
	for _, image := range []string{"boot/vmlinuz-7.3.4-test", "usr/lib/modules/7.3.4-test/vmlinuz"} {
		dir := t.TempDir()
		modules := filepath.Join(dir, "usr", "lib", "modules", "7.3.4-test")
		vmlinuz := filepath.Join(dir, image)
		err := errors.Join(
			os.MkdirAll(modules, 0o755), os.MkdirAll(filepath.Dir(vmlinuz), 0o755),
			os.Symlink("usr/lib", filepath.Join(dir, "lib")),
		)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unpackedKernel(dir); err == nil {
			t.Errorf("%s: a package without an image was taken", image)
		}
		if err := os.WriteFile(vmlinuz, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		k, err := unpackedKernel(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(k.Vmlinuz); err != nil || info.IsDir() || k.Release != "7.3.4-test" {
			t.Errorf("%s: got %+v, %v", image, k, err)
		}
	}
}
