package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownHost runs a script as process 1 of a host of its own: this machine's programs, nothing else of its files, and a NIC
// with the default route. $1 is a folder with packages.
const ownHost = `
root=$1/host; mkdir -p "$root"
mount -t tmpfs tmpfs "$root"; cd "$root"
mkdir -p etc proc dev run tmp packages usr own/upper own/work var/lib/dpkg/info var/lib/dpkg/updates var/tmp
touch var/lib/dpkg/status
echo root:x:0:0:root:/root:/bin/sh >etc/passwd; echo root:x:0: >etc/group
mount -t overlay -o lowerdir=/usr,upperdir=own/upper,workdir=own/work overlay usr
for dir in bin sbin lib lib64; do
	if test -L "/$dir"; then cp -P "/$dir" .; elif test -d "/$dir"; then mkdir "$dir"; mount --bind "/$dir" "$dir"; fi
done
if test -d /etc/alternatives; then mkdir etc/alternatives; mount --bind /etc/alternatives etc/alternatives; fi
mount -t proc proc proc; mount --bind /dev dev; mount --bind "$1" packages
ip link add enp88s0 type veth peer name cable; ip link set enp88s0 up
ip addr add 192.168.2.5/24 dev enp88s0; ip route add default via 192.168.2.1
exec chroot . /bin/sh -euc "$2"`

// What the steps of a removal begin with. "left" prints what there is that was not there before; dpkg's and rpm's own
// notes are theirs.
const removalSteps = `
exec 2>&1
export DEBIAN_FRONTEND=noninteractive
config=/etc/macvtap-filter/config.toml
rpm() { command rpm --dbpath /run/rpm --force-debian --nodeps "$@"; }
files() { find /etc /run /usr /var -path /run/rpm -prune -o -path /var/lib/dpkg -prune -o -path /var/log -prune -o -print | sort; }
left() { files | comm -13 /tmp/before - | sed 's/^/left /'; }
mkdir /run/rpm; files >/tmp/before
# What a hook and watch leave there.
used() { touch /run/macvtap-filter-hook /run/macvtap-filter-network-hook /run/macvtap-filter.lock /run/macvtap-filter-watch-1.lock /run/macvtap-filter-watch-1.sock /run/macvtap-filter-trial-1.sock; }
# What check says of a configuration that means something else to the new version, and whether running VMs were moved to it.
differs() { echo 'warning  configuration: c:5:9: policy "web": log is true, as in [policy.default]; in earlier versions it was false, …' >/tmp/says-check; }
moved() { grep -qx 'apply --all' /tmp/called; }
unmoved() { if moved; then echo 'running VMs were moved'; exit 1; fi; }
`

// A removal leaves nothing: not the configuration that the installation wrote, unless somebody changed it, nor folders and
// what was noted in /run. rpm keeps a changed one as it keeps any changed configuration, dpkg until it is purged.
func TestRemoval(t *testing.T) {
	packages := removalPackages(t)
	for _, test := range []struct {
		name, steps string
		want        []string // what is left, in order
		says        string
	}{
		{"rpm", "rpm -i /packages/1.rpm; used; rpm -e macvtap-filter", nil, ""},
		{"rpm upgraded", "rpm -i /packages/1.rpm; rpm -U /packages/2.rpm; moved; used; rpm -e macvtap-filter", nil, ""},
		{"rpm upgraded to another meaning", "rpm -i /packages/1.rpm; differs; rpm -U /packages/2.rpm; unmoved; rpm -e macvtap-filter", nil, "policy \"web\": log is true"},
		{
			"rpm changed", `rpm -i /packages/1.rpm; echo "[policy.mine]" >>$config; rpm -U /packages/2.rpm; rpm -e macvtap-filter; tail -n 1 $config.rpmsave`,
			[]string{"/etc/macvtap-filter", "/etc/macvtap-filter/config.toml.rpmsave"},
			"saved /etc/macvtap-filter/config.toml as /etc/macvtap-filter/config.toml.rpmsave",
		},
		{
			"rpm other parents", `rpm -i /packages/1.rpm; sed -i 's/"enp88s0"/"eth1"/' $config; rpm -e macvtap-filter`,
			[]string{"/etc/macvtap-filter", "/etc/macvtap-filter/config.toml.rpmsave"}, "config.toml.rpmsave",
		},
		{
			"rpm found one", `mkdir /etc/macvtap-filter; cp /usr/share/dpkg/cputable $config; rpm -i /packages/1.rpm; rpm -e macvtap-filter`,
			[]string{"/etc/macvtap-filter", "/etc/macvtap-filter/config.toml.rpmsave"}, "config.toml.rpmsave",
		},
		{
			"rpm again", `rpm -i /packages/1.rpm; echo "[policy.mine]" >>$config; rpm -e macvtap-filter; rpm -i /packages/2.rpm; rpm -e macvtap-filter`,
			[]string{"/etc/macvtap-filter", "/etc/macvtap-filter/config.toml.rpmsave"}, "config.toml.rpmsave",
		},
		{"rpm no route", `ip route del default; rpm -i /packages/1.rpm; rpm -e macvtap-filter`, nil, "wrote no configuration"},
		{
			"dpkg removed", `dpkg -i /packages/1.deb; used; dpkg -r macvtap-filter`,
			[]string{"/etc/macvtap-filter", "/etc/macvtap-filter/config.toml"}, "",
		},
		{"dpkg purged", `dpkg -i /packages/1.deb; dpkg -i /packages/2.deb; echo "[policy.mine]" >>$config; used; dpkg -P macvtap-filter`, nil, ""},
		{"dpkg upgraded", "dpkg -i /packages/1.deb; dpkg -i /packages/2.deb; moved; dpkg -P macvtap-filter", nil, ""},
		{"dpkg upgraded to another meaning", "dpkg -i /packages/1.deb; differs; dpkg -i /packages/2.deb; unmoved; dpkg -P macvtap-filter", nil, "policy \"web\": log is true"},
		{"dpkg removed and purged", `dpkg -i /packages/1.deb; dpkg -r macvtap-filter; dpkg -P macvtap-filter`, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "sh", "-euc", ownHost, "sh", packages, removalSteps+test.steps+"\nleft")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var left []string
			for line := range strings.Lines(string(out)) {
				if name, ok := strings.CutPrefix(strings.TrimSpace(line), "left "); ok {
					left = append(left, name)
				}
			}
			if !slices.Equal(left, test.want) || !strings.Contains(string(out), test.says) {
				t.Errorf("left %q, want %q, and %q said in\n%s", left, test.want, test.says, out)
			}
		})
	}
}

// removalPackages builds the packages 1 and 2 around a program that notes its calls, and says what it is told to; the second has another reference.
func removalPackages(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"unshare", "ip", "rpmbuild", "dpkg-deb"} {
		needs(t, program)
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, to install packages where nobody else sees them")
		}
		t.Skip("NOT CHECKED: needs root, to install packages where nobody else sees them")
	}
	folder := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// It is called as make is to build the program.
	const program = "#!/bin/sh\necho \"$*\" >>/tmp/called\nif test -e \"/tmp/says-$1\"; then cat \"/tmp/says-$1\"; fi"
	writeProgram(t, filepath.Join(folder, "make"), `for word; do case $word in BIN=*) echo "$PROGRAM" >"${word#BIN=}"; chmod +x "${word#BIN=}" ;; esac; done`)
	for version, change := range map[string]string{"1": "", "2": `echo "# more" >>internal/config/reference.toml; `} {
		copied := t.TempDir()
		script := `cp -r "$1/internal" "$1/cmd" "$1/go.mod" "$1/go.sum" .; ` + change + `sh internal/packaging/build.sh`
		cmd := exec.Command("sh", "-euc", script, "sh", root)
		cmd.Dir = copied
		out := filepath.Join(copied, "out")
		cmd.Env = append(os.Environ(), "PROGRAM="+program, "VERSION="+version, "OUT="+out, "MAKE="+filepath.Join(folder, "make"), "MAINTAINER=A Name <name@example.org>", "SOURCE_DATE_EPOCH=1700000000")
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		for _, kind := range []string{"rpm", "deb"} {
			found, err := filepath.Glob(filepath.Join(out, "*."+kind))
			if err != nil || len(found) != 1 {
				t.Fatalf("packages: %q, %v", found, err)
			}
			if err := os.Rename(found[0], filepath.Join(folder, version+"."+kind)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}
