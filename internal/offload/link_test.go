// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// What an agent attaches by a link is not the check, whatever its name: who may not look
// at programs has nothing else to tell it by. The check is attached all the same.
func TestLinkedProgram(t *testing.T) {
	n, tap := network(t)
	in(t, n, func() error {
		if s, err := findTCX(tap.Index); err != nil || !s.tcx {
			t.Logf("this kernel has no such programs (Linux 6.6): nothing to try: %v", err)
			return err
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: name(), Type: ebpf.SchedCLS, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, next), asm.Return()},
		})
		if err != nil {
			return err
		}
		defer func() { _ = program.Close() }()
		theirs, err := link.AttachTCX(link.TCXOptions{Interface: tap.Index, Program: program, Attach: ebpf.AttachTCXEgress})
		if err != nil {
			return err
		}
		defer func() { _ = theirs.Close() }()
		if is, err := Attached(tap.Index); err != nil || is {
			t.Errorf("an agent's program passes for the check: %t, %v", is, err)
		}
		if err := Attach(tap.Index); err != nil {
			return err
		}
		if is, err := Attached(tap.Index); err != nil || !is {
			t.Errorf("the check does not stand beside it: %v", err)
		}
		return nil
	})
}
