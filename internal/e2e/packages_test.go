//go:build e2e

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packagedPath is where the packages put the program.
const packagedPath = "/usr/sbin/macvtap-filter"

// The hypervisor's own /usr and package databases, which show the machine's until something is installed; and a
// systemctl that writes down what it is told, where systemd itself does not run, and no service does.
const packageMounts = `
for dir in /usr /var/cache /var/lib/apt /var/lib/dpkg; do
    at=/run/own$dir
    mkdir -p "$at/upper" "$at/work"
    chown --reference="$dir" "$at/upper"
    mount -t overlay -o "lowerdir=$dir,upperdir=$at/upper,workdir=$at/work" overlay "$dir"
done
touch /run/dpkg.log
if test -e /var/log/dpkg.log; then mount --bind /run/dpkg.log /var/log/dpkg.log; fi
mkdir -p /run/systemd/system /run/rpm
rm -f /usr/sbin/policy-rc.d # a container's, which forbids to start services
cat >/run/systemctl <<END
#!/bin/sh
echo "\$@" >>/run/systemctl.log
case "\$*" in *is-active*) exit 3 ;; esac
END
install /run/systemctl /usr/bin/systemctl
`

// A packager is what installs packages of one kind.
type packager struct {
	kind                     string
	install, upgrade, remove string // commands; $1 is the package's file
	purge                    string // "" where there is no such thing
	kept                     string // where a removal leaves a configuration that was changed
}

var packagers = []packager{
	{"deb", "dpkg -i $1", "dpkg -i $1", "dpkg -r macvtap-filter", "dpkg -P macvtap-filter", configPath},
	// On Debian rpm has no database, and would rather not.
	{"rpm", "rpm --dbpath /run/rpm --force-debian --nodeps -i $1", "rpm --dbpath /run/rpm --force-debian --nodeps -U $1", "rpm --dbpath /run/rpm --force-debian -e macvtap-filter", "", configPath + ".rpmsave"},
}

// A package that is installed on a host closes the LAN to its VMs once libvirt was restarted; its upgrade and its removal
// leave a running VM's rules as they are; and each says what to do next.
func TestPackages(t *testing.T) {
	files := map[string][2]string{}
	for i, version := range []string{"1.0.0", "1.1.0"} {
		for kind, file := range buildPackages(t, version) {
			both := files[kind]
			both[i] = file
			files[kind] = both
		}
	}
	for _, p := range packagers {
		t.Run(p.kind, func(t *testing.T) { testPackage(t, p, files[p.kind][0], files[p.kind][1]) })
	}
	// None of it was the machine's.
	if _, err := os.Stat(packagedPath); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s outside of the hypervisor: %v", packagedPath, err)
	}
	if out, err := exec.Command("dpkg-query", "-W", "macvtap-filter").CombinedOutput(); err == nil {
		t.Errorf("the machine has the package: %s", out)
	}
}

func testPackage(t *testing.T, p packager, first, second string) {
	s := packagedSite(t)

	said := s.do(t, p.install, first)
	wantSaid(t, said, `wrote the configuration /etc/macvtap-filter/config\.toml for VMs on enp88s0;`, `restart it once`, `macvtap-filter check`, `systemctl enable --now macvtap-filter-watch`)
	if found := strings.TrimSpace(s.run(t, "sh", "-c", "command -v macvtap-filter")); found != packagedPath {
		t.Errorf("the command on PATH is %q, want %s", found, packagedPath)
	}
	if unit := s.run(t, "cat", "/usr/lib/systemd/system/macvtap-filter-watch.service"); !strings.Contains(unit, "\nExecStart="+packagedPath+" watch\n") {
		t.Errorf("the unit starts another program:\n%s", unit)
	}
	config := s.readConfig(t)
	if !strings.Contains(config, "\nparents = [\"enp88s0\"]\n") {
		t.Errorf("the configuration is\n%s", config)
	}

	s.restartLibvirt(t, syscall.SIGTERM, func() {})
	vm := s.start(t, "packaged", s.nics(1)...)
	s.expectShielded(t, vm)
	rules := s.rules(t)
	// It fails for what a test's host lacks, and says of the hook what counts here.
	checked, _ := s.hv.Run(t.Context(), "macvtap-filter", "check")
	wantSaid(t, checked, `(?m)^ok +hook`)
	wantSaid(t, s.run(t, "macvtap-filter", "complete", "--", "apply", "pa"), `^packaged\n$`)

	config += "\n[policy.mine]\n"
	s.writeConfig(t, config)
	s.upgradeUnseen(t, p, second)
	if s.readConfig(t) != config {
		t.Error("the upgrade changed the configuration")
	}
	wantSaid(t, s.run(t, "cat", "/run/systemctl.log"), `(?m)^daemon-reload$`, `(?m)^(--quiet )?try-restart.* macvtap-filter-watch\.service$`)
	s.expectRules(t, rules, true)
	s.expectShielded(t, vm)

	said = s.do(t, p.remove, "")
	const deletion = "nft delete table netdev macvtap-filter"
	wantSaid(t, said, `(?m)^  `+deletion+`$`, `VMs that start from now on are not filtered`, `until the\s+host restarts`)
	wantSaid(t, s.run(t, "cat", "/run/systemctl.log"), `(?m)^(disable --now|stop).* macvtap-filter-watch\.service$`)
	s.run(t, "sh", "-euc", `for file in "$@"; do ! test -e "$file" && ! test -L "$file"; done`, "sh", packagedPath, hookPath)
	s.expectRules(t, rules, true)
	s.expectShielded(t, vm)
	if s.run(t, "cat", p.kept) != config {
		t.Error("the removal changed the configuration")
	}
	// What it said to do when the VM has stopped.
	if err := vm.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.run(t, "sh", "-euc", deletion)
	s.expectNoRules(t)

	if p.kept != configPath {
		s.run(t, "mv", p.kept, configPath)
	}
	wantSaid(t, s.do(t, p.install, second), `kept the configuration`)
	said = s.do(t, p.remove, "")
	if strings.Contains(said, "nft delete") {
		t.Errorf("with no rules, the removal says\n%s", said)
	}
	if p.purge == "" {
		wantSaid(t, said, `saved /etc/macvtap-filter/config\.toml as /etc/macvtap-filter/config\.toml\.rpmsave`)
		s.run(t, "rm", "-r", filepath.Dir(configPath))
	} else {
		s.do(t, p.purge, "")
	}
	s.run(t, "sh", "-euc", `for left in "$@"; do ! test -e "$left"; done`, "sh", filepath.Dir(configPath), filepath.Dir(hookPath), "/usr/share/macvtap-filter")

	// Without a default route nobody knows the NIC, and the VMs wait for it.
	s.run(t, "ip", "route", "del", "default")
	s.run(t, "ip", "-6", "route", "del", "default")
	wantSaid(t, s.do(t, p.install, second), `no default route, and so wrote no configuration`)
	s.expectRefused(t, vm, regexp.QuoteMeta(configPath))
	s.do(t, p.remove, "")
}

// packagedSite makes a site on which packages can be installed.
func packagedSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.run(t, "sh", "-euc", packageMounts)
	return s
}

// buildPackages builds the packages of a version, and gives their files by kind.
func buildPackages(t *testing.T, version string) map[string]string {
	t.Helper()
	root, out := moduleRoot(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-C", root, "packages", "VERSION="+version, "OUT="+out)
	cmd.Env = append(os.Environ(), "GOPROXY=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, said)
	}
	files := map[string]string{}
	for _, p := range packagers {
		found, err := filepath.Glob(filepath.Join(out, "*."+p.kind))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages of kind %s: %q, %v", p.kind, found, err)
		}
		files[p.kind] = found[0]
	}
	return files
}

// do runs one of a packager's commands on the hypervisor, and gives all that it said.
func (s *site) do(t *testing.T, command, file string) string {
	t.Helper()
	out := s.run(t, "sh", "-euc", "{ "+command+"; } 2>&1", "sh", file)
	t.Logf("%s\n%s", command, out)
	return out
}

// upgradeUnseen upgrades the package while something looks at the hook without a pause, and fails if it was ever not there:
// a VM that starts then would run unfiltered.
func (s *site) upgradeUnseen(t *testing.T, p packager, file string) {
	t.Helper()
	hook := s.hv.Path(hookPath)
	stop, looked := make(chan struct{}), make(chan int)
	go func() {
		// The look goes by the hypervisor's files, in whose root absolute links lead elsewhere: look at both by themselves.
		looks := 0
		for ; ; looks++ {
			if _, err := os.Lstat(hook); err != nil {
				t.Errorf("during the upgrade: %v", err)
				break
			}
			if info, err := os.Stat(s.hv.Path(packagedPath)); err != nil || info.Mode()&0o111 == 0 || info.Size() == 0 {
				t.Errorf("during the upgrade: %v, %v", info, err)
				break
			}
			select {
			case <-stop:
				looked <- looks
				return
			default:
				runtime.Gosched()
			}
		}
		looked <- looks
	}()
	before := inode(t, s.hv.Path(packagedPath))
	s.do(t, p.upgrade, file)
	close(stop)
	select {
	case looks := <-looked:
		t.Logf("looked at the hook %d times", looks)
	case <-time.After(answerTime):
		t.Fatal("whoever looked at the hook has not ended")
	}
	if inode(t, s.hv.Path(packagedPath)) == before {
		t.Error("the upgrade brought no other program")
	}
}

func inode(t *testing.T, file string) uint64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// wantSaid fails unless a text matches each of the patterns.
func wantSaid(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("nothing matches %s in\n%s", p, text)
		}
	}
}
