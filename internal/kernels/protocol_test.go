package kernels

import (
	"slices"
	"strings"
	"testing"
)

func TestReadTranscript(t *testing.T) {
	tr, err := readTranscript([]byte("@@ module nft_odd\n" +
		"@@ begin internal/a\nPASS\n\n@@ end internal/a 0\n" +
		"@@ begin internal/b\nFAIL\n\n@@ end internal/b 2\r\n" +
		"@@ done\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !tr.done || !slices.Equal(tr.modules, []string{"nft_odd"}) || len(tr.suites) != 2 {
		t.Fatalf("got %+v", tr)
	}
	a, b := tr.suites[0], tr.suites[1]
	if a.dir != "internal/a" || !a.ended || a.code != 0 || string(a.output) != "PASS\n\n" {
		t.Errorf("first suite: %+v", a)
	}
	if b.dir != "internal/b" || !b.ended || b.code != 2 {
		t.Errorf("second suite: %+v", b)
	}
}

func TestReadTranscriptCutShort(t *testing.T) {
	tr, err := readTranscript([]byte("@@ begin internal/a\n=== RUN TestA\nhel"))
	if err != nil {
		t.Fatal(err)
	}
	if tr.done || len(tr.suites) != 1 || tr.suites[0].ended {
		t.Errorf("got %+v", tr)
	}
	if got := string(tr.suites[0].output); !strings.HasSuffix(got, "hel") {
		t.Errorf("output %q", got)
	}
}

func TestReadTranscriptStrayMark(t *testing.T) {
	for _, output := range []string{
		"@@ end internal/a 0\n",
		"@@ begin internal/a\n@@ end internal/b 0\n",
		"@@ begin internal/a\n@@ end internal/a\n",
	} {
		if tr, err := readTranscript([]byte(output)); err == nil {
			t.Errorf("%q: got %+v, want an error", output, tr)
		}
	}
}

func TestReadFaults(t *testing.T) {
	console := "[ 1.0] Run /init as init process\n" +
		"[ 2.0] BUG: unable to handle page fault for address: 0000000000001000\n" +
		"[ 2.1] WARNING: CPU: 0 PID: 7 at net/core/dev.c:1 f+0x1/0x2\n" +
		"[ 2.2] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!\n" +
		"[ 2.3] Kernel panic - not syncing: Fatal exception\n"
	got := readFaults([]byte(console))
	want := []string{
		"[ 2.0] BUG: unable to handle page fault for address: 0000000000001000",
		"[ 2.1] WARNING: CPU: 0 PID: 7 at net/core/dev.c:1 f+0x1/0x2",
		"[ 2.3] Kernel panic - not syncing: Fatal exception",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
