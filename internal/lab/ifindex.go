package lab

import (
	"os"
	"sync"
)

// The machine names a macvtap device's node /dev/tapN after the interface
// index, in one folder for all namespaces, and makes none for a second device
// of the same index. So the lab's indexes are unique on the machine: the
// process's number (at most 22 bits), then one of 256 slots.
const (
	indexBase  = 1 << 30 // above every index the kernel gives by itself
	indexSlots = 256
)

var indexes struct {
	sync.Mutex
	next int
	used map[int]bool
}

// takeIndex gives an interface index that is nobody else's, until freed. With
// more macvtap devices at once than slots it gives 0: the kernel's choice.
func takeIndex() int {
	indexes.Lock()
	defer indexes.Unlock()
	if indexes.used == nil {
		indexes.used = make(map[int]bool)
	}
	for range indexSlots {
		index := indexBase | os.Getpid()<<8&(indexBase-1) | indexes.next
		indexes.next = (indexes.next + 1) % indexSlots
		if !indexes.used[index] {
			indexes.used[index] = true
			return index
		}
	}
	return 0
}

func freeIndex(index int) {
	indexes.Lock()
	defer indexes.Unlock()
	delete(indexes.used, index)
}
