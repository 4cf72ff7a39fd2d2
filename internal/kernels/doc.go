// Package kernels runs the tests that need a kernel on a second one: the test
// binaries of other packages are booted with Debian's cloud kernel in QEMU, and
// each test in there is reported as if it had run here.
//
// It is behind the build tag kernels, since it downloads a kernel package:
//
//	go test -tags kernels -v -timeout 20m ./internal/kernels
//
// What it reads from the guest, and how, is tested without the tag.
package kernels
