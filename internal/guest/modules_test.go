package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testKernel is a kernel whose modules are empty files.
func testKernel(t *testing.T) *KernelImage {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "6.1.0-test")
	for name, content := range map[string]string{
		"modules.dep": "kernel/net/nfnetlink.ko:\n" +
			"kernel/lib/libcrc32c.ko:\n" +
			"kernel/net/nf_tables.ko: kernel/net/nfnetlink.ko kernel/lib/libcrc32c.ko\n" +
			// depmod names all of them, but in no order to rely on.
			"kernel/net/nft-limit.ko: kernel/net/nf_tables.ko kernel/net/nfnetlink.ko kernel/lib/libcrc32c.ko\n" +
			"kernel/net/packed.ko.xz:\n",
		"modules.builtin":         "kernel/net/packet/af_packet.ko\n",
		"kernel/net/nfnetlink.ko": "", "kernel/lib/libcrc32c.ko": "",
		"kernel/net/nf_tables.ko": "", "kernel/net/nft-limit.ko": "", "kernel/net/packed.ko.xz": "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &KernelImage{ModulesDir: dir, Release: filepath.Base(dir)}
}

func TestAddModules(t *testing.T) {
	r := NewInitramfs(testKernel(t))
	for _, names := range [][]string{{"nft_limit", "af-packet"}, {"nf_tables", "nft-limit"}} {
		if err := r.AddModules(names...); err != nil {
			t.Fatal(err)
		}
	}
	list := string(r.files[ModulesList].content)
	at := func(module string) int { return strings.Index(list, "/lib/modules/6.1.0-test/kernel/"+module+"\n") }
	if strings.Count(list, "\n") != 4 {
		t.Errorf("not the four modules, each once:\n%s", list)
	}
	if at("net/nfnetlink.ko") < 0 || at("lib/libcrc32c.ko") < 0 ||
		at("net/nf_tables.ko") < max(at("net/nfnetlink.ko"), at("lib/libcrc32c.ko")) ||
		at("net/nft-limit.ko") < at("net/nf_tables.ko") {
		t.Errorf("a module comes before one that it needs:\n%s", list)
	}
	for _, file := range strings.Fields(list) {
		if _, found := r.files[file]; !found {
			t.Errorf("%s is not there", file)
		}
	}
}

func TestAddModulesRefused(t *testing.T) {
	for name, r := range map[string]*Initramfs{
		"absent":    NewInitramfs(testKernel(t)),
		"packed":    NewInitramfs(testKernel(t)), // compressed
		"nf_tables": NewInitramfs(nil),           // no kernel
		"libcrc32c": NewInitramfs(&KernelImage{ModulesDir: t.TempDir()}),
	} {
		if err := r.AddModules(name); err == nil {
			t.Errorf("module %s: no error", name)
		}
		if _, found := r.files[ModulesList]; found {
			t.Errorf("module %s: a list was made", name)
		}
	}
}
