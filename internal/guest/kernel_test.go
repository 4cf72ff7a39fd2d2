package guest

import "testing"

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
