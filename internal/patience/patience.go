// Package patience says how long the program waits for others. Each limit ends what hangs. A very busy machine can meet one, too,
// and what is said and done is then another; so tests wait longer.
package patience

import "time"

// The limits, each with what is waited for.
var (
	NFT     = time.Second      // nft lists two chains: what a hook has to do can wait no longer for it
	Release = 2 * time.Second  // the kernel makes the guard anew, without its owner, who ends
	Pass    = 10 * time.Second // one pass of watch waits for the kernel, in which other processes of this program may hold the lock
	Report  = 2 * time.Second  // watch reports
	Write   = 5 * time.Second  // somebody writes the configuration while watch starts
	Libvirt = 20 * time.Second // one answer to watch: libvirt runs its hooks while it holds a VM, so it can be as long as a hook call
	Status  = 2 * time.Second  // libvirt altogether, for a status
	Names   = time.Second      // a person waits for the names of VMs
	Ask     = 2 * time.Second  // a client of the metrics says what it wants
	Answer  = 10 * time.Second // the metrics are made, and the client takes them
)

// Lengthen gives every limit the same length. It is for tests, before anything waits.
func Lengthen(to time.Duration) {
	for _, l := range []*time.Duration{&NFT, &Release, &Pass, &Report, &Write, &Libvirt, &Status, &Names, &Ask, &Answer} {
		*l = to
	}
}
