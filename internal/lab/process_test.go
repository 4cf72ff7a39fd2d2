package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// showFiles names the variable that turns this test program into one that only
// says what it sees: the lab's machine may have no other program.
const showFiles = "LAB_TEST_SHOW"

func TestMain(m *testing.M) {
	if folder, ok := os.LookupEnv(showFiles); ok {
		show(folder)
		return
	}
	os.Exit(m.Run())
}

// show prints the network devices and the files below a folder.
func show(folder string) {
	devices, err := net.Interfaces()
	fmt.Println("devices:", err)
	for _, device := range devices {
		fmt.Println(device.Name)
	}
	inSys, err := filepath.Glob("/sys/class/net/*")
	fmt.Println("files:", err)
	inFolder, err := filepath.Glob(folder + "/*/*")
	for _, path := range append(inSys, inFolder...) {
		content, _ := os.ReadFile(path) // a device is a folder: nothing
		fmt.Printf("%s: %s\n", filepath.Base(path), content)
	}
	fmt.Println("end:", err)
}

// A process sees its namespace's devices and its own files; nobody else does.
func TestProcessSeesItsOwn(t *testing.T) {
	n := newNetwork(t, Options{})
	folder := t.TempDir()
	for _, name := range []string{"a/covered", "b/beside", "c/hidden"} {
		path := filepath.Join(folder, name)
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("the machine's"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/covered", "b/missing"} {
		if err := n.Hypervisor.Overlay(filepath.Join(folder, name), []byte("its own")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"c", "d"} {
		if err := n.Hypervisor.Hide(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Hypervisor.Overlay(filepath.Join(folder, "d/e"), nil); err == nil {
		t.Error("a file in a folder that is not there was overlaid")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{showFiles + "=" + folder}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Hypervisor.Run(cmd); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	want := "devices: <nil>\nlo\nenp88s0\nfiles: <nil>\nenp88s0: \nlo: \n" +
		"covered: its own\nmissing: its own\nend: <nil>\n"
	if out.String() != want {
		t.Errorf("the process sees\n%s\nwant\n%s", out.String(), want)
	}
	content, err := os.ReadFile(filepath.Join(folder, "a/covered"))
	if err != nil || string(content) != "the machine's" {
		t.Errorf("the machine has %q, %v", content, err)
	}
}
