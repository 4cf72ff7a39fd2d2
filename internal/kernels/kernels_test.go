//go:build kernels

package kernels

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/guest"
)

// bootTime bounds the guest's whole life. An emulated one takes most of an hour, and with
// -short a quarter of that.
const bootTime = 170 * time.Minute

// repository is the way from here to the repository's root.
const repository = "../.."

//go:embed init.sh
var initScript []byte

// versions are the kernels to run on, as in "6.1 6.12".
var versions = strings.Fields(os.Getenv("MACVTAP_FILTER_KERNELS"))

// TestKernel runs the suites on other kernels and reports their tests as its
// own: TestKernel/6.1/internal/kernel/TestApply and so on.
func TestKernel(t *testing.T) {
	if !testing.Short() {
		suites = append(suites, long.suites...)
	}
	if len(versions) == 0 {
		kernel, err := guest.Kernel(t.Context())
		must(t, err)
		t.Run(kernel.Version(), func(t *testing.T) { runOn(t, kernel) })
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			kernel, err := guest.KernelOf(t.Context(), version)
			must(t, err)
			runOn(t, kernel)
		})
	}
}

// runOn runs the suites on a kernel.
func runOn(t *testing.T, kernel *guest.KernelImage) {
	initramfs := build(t, kernel)
	console, transcript := boot(t, kernel, initramfs)

	faults := readFaults(console)
	for _, line := range faults {
		t.Errorf("kernel: %s", line)
	}
	for _, module := range transcript.modules {
		t.Errorf("module %s did not load", module)
	}
	ran := map[string]suite{}
	for _, s := range transcript.suites {
		ran[s.dir] = s
	}
	var failed []string
	for _, dir := range suites {
		t.Run(dir, func(t *testing.T) { failed = append(failed, reportSuite(t, ran[dir], dir)...) })
	}
	if !transcript.done {
		t.Error("the guest stopped before its last suite ended")
	}
	if len(failed) > 0 { // once more, where one looks first: at the end
		t.Logf("what failed in the guest:\n%s", strings.Join(failed, "\n"))
	}
	if len(faults) > 0 || !transcript.done {
		t.Logf("the kernel's console:\n%s", tail(console, 80))
	}
}

// build returns the path of an initramfs that holds the suites and all that
// they need.
func build(t *testing.T, kernel *guest.KernelImage) string {
	t.Helper()
	start := time.Now()
	r := guest.NewInitramfs(kernel)
	must(t, r.AddBusybox())
	must(t, r.AddModules(modules...))
	for _, name := range merged {
		if err := r.AddModules(name); !errors.Is(err, guest.ErrNoModule) {
			must(t, err)
		}
	}
	for _, name := range programs {
		hostPath, err := exec.LookPath(name)
		must(t, err)
		must(t, r.AddProgram(hostPath))
	}
	r.AddFile("/init", 0o755, initScript)
	r.AddFile("/version", 0o644, []byte(kernel.Version()))
	r.AddFile("/suites.list", 0o644, []byte(strings.Join(suites, "\n")+"\n"))
	r.AddFile("/flags", 0o644, []byte(flags()+"\n"))
	// nft reads the names of protocols, and some libraries those of users.
	r.AddFile("/etc/protocols", 0o644, []byte("icmp 1\nigmp 2\nipencap 4\ntcp 6\nudp 17\nipv6 41\ngre 47\nesp 50\nah 51\nipv6-icmp 58\nsctp 132\n"))
	r.AddFile("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	r.AddFile("/etc/group", 0o644, []byte("root:x:0:\n"))
	r.AddSymlink("/var/run", "../run")

	addTestdata(t, r, "testdata")
	addProgram(t, r)
	must(t, r.AddHostFile("/repository/cmd/bench/hook.sh", filepath.Join(repository, "cmd/bench/hook.sh")))
	for _, dir := range suites {
		addSuite(t, r, dir)
	}
	file := filepath.Join(t.TempDir(), "initramfs.gz")
	must(t, r.WriteFile(file))
	t.Logf("made the initramfs in %v", time.Since(start).Round(time.Millisecond))
	return file
}

// flags are those of the suites.
func flags() string {
	out := "-test.v=test2json -test.timeout=150m"
	if testing.Short() {
		out += " -test.skip=^(" + strings.Join(long.tests, "|") + ")$"
	}
	return out
}

// addProgram builds the program itself and adds it.
func addProgram(t *testing.T, r *guest.Initramfs) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "macvtap-filter")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", binary, "./cmd/macvtap-filter")
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	must(t, r.AddHostFile("/usr/sbin/macvtap-filter", binary))
}

// addSuite compiles a package's tests and adds them, with the package's own
// testdata, where init.sh looks for them.
func addSuite(t *testing.T, r *guest.Initramfs, dir string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "suite.test")
	// Static, since the guest has no libraries but those of its programs.
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-o", binary, "./"+dir)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the tests of %s: %v\n%s", dir, err, out)
	}
	if err := r.AddHostFile(path.Join("/suites", dir)+".test", binary); errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s has no tests", dir)
	} else if err != nil {
		t.Fatal(err)
	}
	r.AddDir(path.Join("/repository", dir))
	addTestdata(t, r, path.Join(dir, "testdata"))
}

// addTestdata adds a directory of the repository, if there is one.
func addTestdata(t *testing.T, r *guest.Initramfs, dir string) {
	t.Helper()
	hostDir := filepath.Join(repository, dir)
	if _, err := os.Stat(hostDir); errors.Is(err, fs.ErrNotExist) {
		return
	}
	must(t, r.AddHostDir(path.Join("/repository", dir), hostDir))
}

// boot runs the guest to its end, and returns what the kernel and what the
// suites said.
func boot(t *testing.T, kernel *guest.KernelImage, initramfs string) (console []byte, tr *transcript) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	var kernelSays, suitesSay bytes.Buffer
	vm := guest.VM{
		Kernel:    kernel.Vmlinuz,
		Initramfs: initramfs,
		Append:    "oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1",
		Accel:     guest.Accel(),
		MemoryMiB: 768,
		Console:   &kernelSays,
		Output:    &suitesSay,
	}
	start := time.Now()
	if err := vm.Run(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("Linux %s ran with %s for %v", kernel.Release, vm.Accel, time.Since(start).Round(time.Millisecond))
	tr, err := readTranscript(suitesSay.Bytes())
	if err != nil {
		t.Fatalf("%v in:\n%s", err, suitesSay.Bytes())
	}
	return kernelSays.Bytes(), tr
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tail returns the last n lines of text.
func tail(text []byte, n int) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], nil)
}
