// Package kernels runs the tests that need a kernel on other ones: the test
// binaries of other packages are booted with Debian's cloud kernels in QEMU, and
// each test in there is reported as if it had run here.
//
// It is behind the build tag kernels, since it downloads a kernel package:
//
//	go test -tags kernels -v -timeout 3h ./internal/kernels
//
// The variable MACVTAP_FILTER_KERNELS names the kernels, as in "6.1 6.12 7.3"; without
// it, it is the one that the machine's own release of Debian has. A kernel that
// cannot be had is a failure. MACVTAP_FILTER_VMLINUZ and MACVTAP_FILTER_MODULES
// name one that is no package; see guest.Kernel.
//
// What it reads from the guest, and how, is tested without the tag.
package kernels
