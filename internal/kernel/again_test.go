package kernel_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// TestListingLoadsAgain loads the text of every story with nft, has that nft list it, and loads
// the listing: the rules that the kernel then holds are the same. So a host's rules are what
// "nft list ruleset" says, and come back after "nft -f". It is held for the nft of this machine,
// and for those that MACVTAP_FILTER_NFT names, a list like PATH of programs, or of root folders
// that have one: "make test-nft" makes these.
func TestListingLoadsAgain(t *testing.T) {
	all := stories(t)
	for _, program := range append([]string{"nft"}, filepath.SplitList(os.Getenv("MACVTAP_FILTER_NFT"))...) {
		version, err := nftCommand(program, "--version").Output()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for name, made := range all {
			t.Run(strings.Fields(string(version))[1]+"/"+name, func(t *testing.T) { loadsAgain(t, program, made) })
		}
	}
}

func loadsAgain(t *testing.T, program string, made []ruleset.Table) {
	ns := namespace(t)
	addDevices(t, ns, devices(made)...)
	nftOf(t, ns, program, ruleset.Text(made), "-f", "-")
	holds(t, ns, "the text", made)
	device, _ := ruleset.TableDevice(made[0].Name)
	add := "add element netdev " + ruleset.RulesTable + " "
	nftOf(t, ns, program, add+`from-vm-drops { "`+device+`" . "vlan" counter packets 3 bytes 180 }`+"\n"+
		add+`to-vm-drops { "`+device+`" . "icmp-redirect" counter packets 2 bytes 120 }`, "-f", "-")
	if slices.ContainsFunc(made[0].Sets, func(s ruleset.Set) bool { return s.Name == "nic-bound-ipv4" }) { // what rules learned
		nftOf(t, ns, program, add+`nic-bound-ipv4 { "`+device+`" }`+"\n"+add+`nic-addresses-ipv4 { "`+device+`" . 0xc0a80264 }`, "-f", "-")
	}
	listed := nftOf(t, ns, program, "", "list", "ruleset")
	nftOf(t, ns, program, "flush ruleset\n"+listed, "-f", "-")
	holds(t, ns, "what nft lists", made)
	again := nftOf(t, ns, program, "", "list", "ruleset")
	if diff := cmp.Diff(listed, again); diff != "" {
		t.Errorf("listed, loaded and listed again:\n%s", diff)
	}
}

// holds compares what stands in a namespace with the tables that should. That nft has no
// words for the check of offloads is no difference.
func holds(t *testing.T, ns *lab.Namespace, of string, made []ruleset.Table) {
	t.Helper()
	stands := map[string]ruleset.Table{}
	for _, h := range read(t, ns) {
		stands[h.Name] = h.Table
	}
	for _, should := range made {
		device, _ := ruleset.TableDevice(should.Name)
		link, err := ns.Links().LinkByName(device)
		if err != nil {
			t.Fatal(err)
		}
		should = should.Bind(link.Attrs().Index)
		should.CheckOffload = false
		if diff := ruleset.Diff("should", should, "stands", stands[should.Name]); diff != "" {
			t.Errorf("%s: %s\n%s", of, should.Name, diff)
		}
	}
}

// nftOf is nft for an nft of that path.
func nftOf(t *testing.T, ns *lab.Namespace, program, input string, args ...string) string {
	t.Helper()
	cmd := nftCommand(program, args...)
	cmd.Stdin = strings.NewReader(input)
	var output, said strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &said
	if err := ns.Run(cmd); err != nil {
		skipByteOrder(t, said.String())
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, said.String())
	}
	return output.String()
}

// nftCommand is an nft, given as a program or as a root folder that has one.
func nftCommand(program string, args ...string) *exec.Cmd {
	if info, err := os.Stat(program); err == nil && info.IsDir() {
		return exec.Command("chroot", append([]string{program, "nft"}, args...)...)
	}
	return exec.Command(program, args...)
}
