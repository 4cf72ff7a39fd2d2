//go:build kernels

package kernels

import "path"

// suites are the packages whose tests need a kernel, by directory.
var suites = []string{
	"internal/kernel",
	"internal/host",
	"internal/judge",
	"internal/lab",
	"internal/offload",
}

// long are what -short leaves out, packages and tests: emulated, they take most of an hour. What
// they find on one kernel they have so far found on all.
var long = struct{ suites, tests []string }{
	[]string{"internal/leaks"},
	[]string{
		"TestTextIsWhatIsProgrammed", "TestListingLoadsAgain", "TestReplaceIsTheSameByteForByte", "TestReadBack",
		"TestManyPolicies", "TestLongPolicyOfManyNICs", "TestManyAtOnce", "TestChangesLoseNothingOfAFlood", "TestDrift",
		"TestFieldOnTheWire", "TestFastPathOnlySavesTime",
	},
}

// skips are the tests that may be skipped in the guest, as directory, slash and
// test, each with the reason. Any other skip is a failure.
var skips = map[string]string{
	"internal/kernel/TestReadBack":               nftByteOrder,
	"internal/kernel/TestReadBackPolicies":       nftByteOrder,
	"internal/kernel/TestTextIsWhatIsProgrammed": nftByteOrder,
	"internal/kernel/TestEveryMatch":             nftByteOrder,
	"internal/kernel/TestGuard":                  prefixes + "; TestKernelWithoutGuard is its counterpart",
	"internal/kernel/TestPlugs":                  prefixes,
	"internal/kernel/TestTrace/with_a_guard":     prefixes,
}

const prefixes = "a chain for the beginning of device names needs Linux 6.17"

const nftByteOrder = "newer kernels refuse what nft 1.0 makes of meta l4proto in a set of several fields; what the program itself sends, they take"

// permitted returns the reason for which a test may be skipped, itself or with all
// of the test around it.
func permitted(name string) (reason string, found bool) {
	for ; name != "."; name = path.Dir(name) {
		if reason, found = skips[name]; found {
			return reason, true
		}
	}
	return "", false
}

// modules are what the tests need of the kernel; what is built into it (packet
// sockets, and nftables' counters, sets and simple matches) can be named too.
// Linux 6.1 as Debian configures it has no nft_reject_netdev.
var modules = []string{
	"nf_tables", "nft_limit", "nft_log", "nft_quota", "nft_numgen", "nft_hash",
	"nft_reject", "nft_fib_netdev", "nft_dup_netdev", "nft_fwd_netdev",
	"nf_log_syslog", "nfnetlink_log",
	"sch_ingress", "cls_bpf",
	"af_packet", "macvlan", "macvtap", "tap", "tun", "veth", "bridge", "dummy", "8021q",
}

// merged are modules of some kernels that are part of another module in others:
// nft_objref is in nf_tables since Linux 6.2.
var merged = []string{"nft_objref"}

// programs are what the tests call, besides what busybox has.
var programs = []string{"ip", "nft"}
