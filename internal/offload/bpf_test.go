// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"testing"
)

// What bpf(2) is given stays where it is while a stack grows, and so moves: the attributes hold its address as a number, which
// nobody corrects then.
func TestPointersStay(t *testing.T) {
	stays := make(chan bool)
	go func() { // whose stack is small
		var value uint64
		before := pointer(&value)
		grow(1000)
		stays <- pointer(&value) == before
	}()
	if !<-stays {
		t.Error("what was pointed to has moved")
	}
}

// grow makes the stack larger by so many kB.
//
//go:noinline
func grow(kB int) (sum byte) {
	var room [1 << 10]byte
	room[kB] = 1
	if kB > 0 {
		sum = grow(kB - 1)
	}
	return sum + room[kB]
}
