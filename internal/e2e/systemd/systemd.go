// Package systemd boots machines whose process 1 is systemd, with journald and libvirtd as its only services: process
// trees in namespaces of their own, on a network of the tests'.
package systemd

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// UnitFolder is where a machine has the units that it came with.
const UnitFolder = "/run/units"

// bootTime is how long systemd may take until it answers, far above what it takes on a busy machine.
const bootTime = 5 * time.Minute

// searchPath is an administrator's.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

//go:embed files.sh
var files string

// start is the end of the script that process 1 runs. Its second argument is where systemd looks for units.
const start = `
exec env -i PATH=` + searchPath + ` container=other SYSTEMD_UNIT_PATH="$2" \
    /lib/systemd/systemd --system --unit=default.target --log-target=journal --log-level=info
`

// A Machine is the processes of a systemd.
type Machine struct {
	systemd  *exec.Cmd
	unitPath string
	cgroup   cgroup
	console  bytes.Buffer
}

// Boot starts a machine in a network namespace and waits until systemd and journald run. The setup is a shell script
// that furnishes the machine's files before systemd starts, with the arguments from $3 on; unitPath names, with colons
// between, the folders where systemd looks for units, [UnitFolder] among them.
func Boot(network *lab.Namespace, unitPath, setup string, args ...string) (*Machine, error) {
	m := &Machine{unitPath: unitPath}
	var err error
	if m.cgroup, err = newCgroup(); err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	command := append([]string{"--cgroup", "sh", "-euc", files + setup + start, "machine", UnitFolder, unitPath}, args...)
	m.systemd = exec.Command("unshare", command...)
	m.systemd.Stdout, m.systemd.Stderr = &m.console, &m.console
	m.systemd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		UseCgroupFD: true, CgroupFD: m.cgroup.fd,
	}
	if err := network.Start(m.systemd); err != nil {
		return nil, errors.Join(fmt.Errorf("boot a machine: %w", err), m.cgroup.remove())
	}
	for end := time.Now().Add(bootTime); ; time.Sleep(10 * time.Millisecond) {
		out, err := m.Command("systemctl", "is-active", "default.target", "systemd-journald").CombinedOutput()
		if err == nil && string(out) == "active\nactive\n" {
			return m, nil
		}
		if time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("boot a machine: systemd does not answer: %w: %s", err, out), m.Close(),
				errors.New(m.Console()))
		}
	}
}

// Close ends every process of the machine.
func (m *Machine) Close() error {
	_ = m.systemd.Process.Kill()
	_ = m.systemd.Wait() // it says "killed"
	return m.cgroup.remove()
}

// Console is what process 1 printed. It is complete when the machine is closed, and not to be read before.
func (m *Machine) Console() string { return m.console.String() }

// Init is the machine's process 1.
func (m *Machine) Init() *exec.Cmd { return m.systemd }

// Path is where the caller finds a file of the machine.
func (m *Machine) Path(name string) string {
	return filepath.Join("/proc", fmt.Sprint(m.systemd.Process.Pid), "root", name)
}

// Command prepares a program to run on the machine, from its root directory. It has an environment that is the machine's.
func (m *Machine) Command(name string, args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(m.systemd.Process.Pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--", name}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=" + searchPath, "LC_ALL=C", "SYSTEMD_UNIT_PATH=" + m.unitPath}
	return cmd
}

// A cgroup is the folder that a machine's systemd makes those of its units in: one in the tests' own folder, wherever
// cgroup2 put that.
type cgroup struct {
	hierarchy, folder string
	fd                int
}

func newCgroup() (cgroup, error) {
	hierarchy, err := os.MkdirTemp("", "macvtap-filter-e2e-")
	if err != nil {
		return cgroup{}, err
	}
	if err := unix.Mount("cgroup2", hierarchy, "cgroup2", 0, ""); err != nil {
		return cgroup{}, errors.Join(fmt.Errorf("mount cgroup2: %w", err), os.Remove(hierarchy))
	}
	c := cgroup{hierarchy: hierarchy, fd: -1}
	err = c.make()
	if err != nil {
		err = errors.Join(err, c.remove())
	}
	return c, err
}

func (c *cgroup) make() error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	own := ""
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(line, "0::"); found {
			own = strings.TrimSpace(path)
		}
	}
	if c.folder, err = os.MkdirTemp(filepath.Join(c.hierarchy, own), "macvtap-filter-e2e-"); err != nil {
		return err
	}
	c.fd, err = unix.Open(c.folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// remove removes the folder with all in it, whose processes have ended.
func (c *cgroup) remove() error {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
	}
	if c.folder != "" {
		removeCgroup(c.folder)
	}
	return errors.Join(unix.Unmount(c.hierarchy, 0), os.Remove(c.hierarchy))
}

func removeCgroup(folder string) {
	inside, _ := filepath.Glob(filepath.Join(folder, "*", ""))
	for _, name := range inside {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			removeCgroup(name)
		}
	}
	_ = os.Remove(folder)
}
