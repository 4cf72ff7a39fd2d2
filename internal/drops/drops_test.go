package drops

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/why"
)

var (
	denied = Counter{"macvtap0", false, "denied-ipv4"}
	ssh    = Cause{denied, "192.168.2.77", "tcp/22"}
	dns    = Cause{denied, "192.168.2.78", "udp/53"}
)

func words(reports ...Report) string {
	var out []string
	for _, r := range reports {
		text := fmt.Sprint(r.Packets)
		if r.First {
			text = "first"
		}
		if r.AtLeast {
			text = "at least " + text
		}
		out = append(out, strings.Join(strings.Fields(r.Peer+" "+r.Service+" "+text), " "))
	}
	return strings.Join(out, "; ")
}

func saw(t *testing.T, l *Log, n int, causes ...Cause) {
	t.Helper()
	for range n {
		for _, c := range causes {
			if r, tell := l.Saw(c, time.Time{}); tell {
				t.Errorf("told at once: %s", words(r))
			}
		}
	}
}

func look(t *testing.T, l *Log, counted uint64, end bool, want string) {
	t.Helper()
	l.Counted(map[Counter]uint64{denied: counted})
	if diff := cmp.Diff(want, words(l.Look(time.Time{}, end)...)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// begun is a log of a counter that had counted 100, in which a cause was seen once.
func begun(t *testing.T) *Log {
	t.Helper()
	l := &Log{}
	look(t, l, 100, false, "")
	if r, tell := l.Saw(ssh, time.Time{}); !tell || words(r) != "192.168.2.77 tcp/22 first" {
		t.Errorf("the first frame: %v: %s", tell, words(r))
	}
	return l
}

// What is told adds up to what was counted since the beginning.
func TestEveryFrameSeen(t *testing.T) {
	l := begun(t)
	saw(t, l, 4, ssh)
	look(t, l, 105, false, "192.168.2.77 tcp/22 4")
	look(t, l, 105, false, "")
	saw(t, l, 2, ssh)
	look(t, l, 107, true, "192.168.2.77 tcp/22 2")
}

// Where the trace is a sample, counts of causes are at least so many, and the rest is told once, when no
// trace of it can come any more.
func TestSample(t *testing.T) {
	l := begun(t)
	saw(t, l, 4, ssh)
	look(t, l, 1105, false, "192.168.2.77 tcp/22 at least 4")
	look(t, l, 1105, false, "1000")
	saw(t, l, 1, ssh)
	look(t, l, 1106, false, "192.168.2.77 tcp/22 1")
	look(t, l, 1116, true, "10")
}

// Neither is a frame that is traced after it was counted told of twice, nor one that is counted after it
// was traced.
func TestLate(t *testing.T) {
	l := begun(t)
	look(t, l, 103, false, "")
	saw(t, l, 2, ssh)
	look(t, l, 103, false, "192.168.2.77 tcp/22 2")
	saw(t, l, 1, ssh)
	look(t, l, 103, false, "192.168.2.77 tcp/22 1")
	look(t, l, 104, true, "")
}

// Rules that are made anew count from 0, those of a NIC that came, too.
func TestRulesAnew(t *testing.T) {
	l := begun(t)
	look(t, l, 101, false, "")
	look(t, l, 3, true, "3")
	l.Counted(nil)
	look(t, l, 7, true, "7")
	plugged := Counter{"macvtap1", true, "spoofed-ip"}
	l.Counted(map[Counter]uint64{denied: 7, plugged: 5})
	if got := words(l.Look(time.Time{}, true)...); got != "5" {
		t.Errorf("of the NIC that came: %q", got)
	}
}

// What nobody counts is at least what was seen.
func TestNotCounted(t *testing.T) {
	l := begun(t)
	other := Cause{Counter{"macvtap0", false, "another's table"}, "192.0.2.1", "tcp/22"}
	l.Saw(other, time.Time{})
	saw(t, l, 3, other)
	look(t, l, 101, true, "192.0.2.1 tcp/22 at least 3")
}

// A scan of ports is a few lines, and every frame of it is counted; a cause that was silent for long is new again.
func TestManyCauses(t *testing.T) {
	l := begun(t)
	lines := 0
	for port := range 500 {
		if _, tell := l.Saw(Cause{denied, "192.168.2.77", fmt.Sprintf("tcp/%d", 1000+port)}, time.Time{}); tell {
			lines++
		}
	}
	if lines != mostNew-1 {
		t.Errorf("%d lines", lines)
	}
	look(t, l, 601, false, fmt.Sprint(500-lines))
	if r, tell := l.Saw(dns, time.Time{}); !tell {
		t.Errorf("after the scan: %s", words(r))
	}
	l.Look(time.Time{}.Add(forgotten), false)
	if _, tell := l.Saw(ssh, time.Time{}); !tell {
		t.Error("what was silent for long is not new")
	}
}

func TestCauseOf(t *testing.T) {
	const arp = "ffffffffffff0200000000770806" + "0001080006040001020000000077c0a8024d000000000000c0a80264"
	const syn = "5254000000010200000000770800" + "450000280000000040060000c0a8024dc0a80264" + "c40000160000000000000000" + "5002ffff00000000"
	const answer = "5254000000010200000000770800" + "450000280000000040060000c0a8024dc0a80264" + "0016c4000000000000000000" + "5012ffff00000000"
	const ping = "0000000000000000000000000800" + "4500001c0000000040010000c0a80264c0a8024d" + "0800000000000000"
	for _, test := range []struct {
		hex  string
		out  bool
		want string
	}{
		{syn, false, "192.168.2.77 tcp/22"},
		{answer, false, "192.168.2.77 from tcp/22"},
		{arp, false, "192.168.2.77 ARP"},
		{ping, true, "192.168.2.77 ICMP echo request"},
		{"01005e00000102000000007788cc", false, "02:00:00:00:00:77 EtherType 0x88cc"},
		{"00000000000000000000000088cc", true, " EtherType 0x88cc"},
		{"0102", false, " IEEE 802.2 LLC"},
	} {
		f, err := frame.ParseHex(test.hex)
		if err != nil {
			t.Fatal(err)
		}
		if c := CauseOf(why.Verdict{Out: test.out, Frame: f}, denied); c.Peer+" "+c.Service != test.want {
			t.Errorf("%s: %q, want %q", test.hex, c.Peer+" "+c.Service, test.want)
		}
	}
}
