// Package patience says how long the program waits for others where more time would help nobody: each limit ends what hangs.
// It is met, too, where a machine is very busy, and then decides what is said and done; so tests wait longer.
package patience

import "time"

// The limits, each with what is waited for.
var (
	NFT     = time.Second      // nft lists two chains: what a hook has to do can wait no longer for it
	Release = 2 * time.Second  // the guard is made anew when its owner ends
	Pass    = 10 * time.Second // one pass of watch waits for the kernel, in which other processes of this program may hold the lock
	Report  = 2 * time.Second  // watch reports
	Write   = 5 * time.Second  // somebody writes the configuration while watch starts
	Libvirt = 20 * time.Second // one answer to watch: libvirt runs its hooks while it holds a VM, so it can be as long as a hook call
	Status  = 2 * time.Second  // libvirt altogether, for a status
	Names   = time.Second      // a person waits for the names of VMs
	Ask     = 2 * time.Second  // who asks for metrics asks
	Answer  = 10 * time.Second // metrics are made, and who asked for them takes them
)

// Lengthen has everybody be waited for as long as that. It is for tests, before anything waits.
func Lengthen(to time.Duration) {
	for _, l := range []*time.Duration{&NFT, &Release, &Pass, &Report, &Write, &Libvirt, &Status, &Names, &Ask, &Answer} {
		*l = to
	}
}
