// Package lab builds private networks out of anonymous network namespaces: a
// hypervisor with a parent NIC and macvtap devices, the LAN at the other end of
// its cable, hosts on that LAN, and an internet behind the gateway.
//
// Demonstrations, kernel tests and benchmarks share it. It needs root and the
// kernel, and no other program. Namespaces are held by file descriptors alone:
// nothing is written to /run/netns, so that a process that is killed leaves
// nothing behind, its /dev/tapN nodes included.
//
//	Hypervisor                        LAN                      Host …
//	 macvtap ── parent ═══ cable ═══ uplink ── bridge ── port ═══ eth0
//	    │                               │
//	   Tap (what a VM sees)            Wire (what the cable carries)
//
// No link, address, route or rule is made in the caller's own namespace, and no
// frame leaves the private ones.
package lab
