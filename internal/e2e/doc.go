// Package e2e holds the end-to-end tests: a real libvirtd starts real QEMU guests on macvtap devices, and the frames
// on the wire decide. The tests stand behind the build tag e2e and need root; `make e2e` runs them.
//
// Everything lives in namespaces: the test binary runs itself again in new mount, process and network namespaces
// (package sandbox), builds a small network in them (package lan), a hypervisor with a private /etc, /run and
// /var/lib/libvirt (package hypervisor), and talks to a small agent in each guest (packages agent and guestrpc).
// When the test binary ends, however it ends, the kernel takes all of it down.
package e2e
