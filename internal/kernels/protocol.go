package kernels

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Marks that /init in the guest writes around a suite's output, each on a line
// of its own; see init.sh.
const (
	markBegin  = "@@ begin "  // and the suite's directory
	markEnd    = "@@ end "    // and the directory and the exit code
	markDone   = "@@ done"    // every suite has had its turn
	markModule = "@@ module " // and a module that the kernel refused
)

// A suite is what the guest said about one test binary.
type suite struct {
	dir    string // of the package, from the repository's root
	output []byte // as the binary printed it
	ended  bool   // whether the binary ended, by itself or not
	code   int    // its exit code, once ended
}

// A transcript is all that a guest said on its second serial port.
type transcript struct {
	suites  []suite
	modules []string // that the kernel refused
	done    bool     // whether /init got to its end
}

// readTranscript takes a guest's output apart. It fails on a mark that /init
// would not write.
func readTranscript(output []byte) (*transcript, error) {
	tr := &transcript{}
	var current *suite
	for line := range bytes.Lines(output) {
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case strings.HasPrefix(text, markBegin):
			tr.suites = append(tr.suites, suite{dir: text[len(markBegin):]})
			current = &tr.suites[len(tr.suites)-1]
		case strings.HasPrefix(text, markEnd):
			dir, code, _ := strings.Cut(text[len(markEnd):], " ")
			n, err := strconv.Atoi(code)
			if err != nil || current == nil || current.dir != dir {
				return nil, fmt.Errorf("unexpected mark %q", text)
			}
			current.ended, current.code = true, n
			current = nil
		case text == markDone:
			tr.done = true
		case strings.HasPrefix(text, markModule):
			tr.modules = append(tr.modules, text[len(markModule):])
		case current != nil:
			current.output = append(current.output, line...)
		}
	}
	return tr, nil
}

// fault matches what the kernel prints when it is in trouble. A stall of the
// processor is not among them: an emulated one on a busy machine has those.
var fault = regexp.MustCompile(`Kernel panic|Oops|BUG: (?:kernel|KASAN|unable|sleeping|scheduling|Bad|using)|` +
	`kernel BUG at|general protection fault|WARNING: CPU|Out of memory|unregister_netdevice: waiting`)

// readFaults returns the lines of a kernel's console that tell of a fault.
func readFaults(console []byte) []string {
	var faults []string
	for line := range bytes.Lines(console) {
		if fault.Match(line) {
			faults = append(faults, strings.TrimSpace(string(line)))
		}
	}
	return faults
}
