package kernels

import (
	"strings"
	"testing"
	"time"
)

func TestReadResults(t *testing.T) {
	results, err := readResults(strings.NewReader(`{"Action":"start"}
{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"run","Test":"TestA/on_10.0.0.0/8"}
{"Action":"output","Test":"TestA/on_10.0.0.0/8","Output":"    a_test.go:7: hello\n"}
{"Action":"run","Test":"TestA/on_10.0.0.0/8/again"}
{"Action":"output","Test":"TestA/on_10.0.0.0/8","Output":"    --- FAIL: TestA/on_10.0.0.0/8 (0.50s)\n"}
{"Action":"skip","Test":"TestA/on_10.0.0.0/8/again"}
{"Action":"fail","Test":"TestA/on_10.0.0.0/8","Elapsed":0.5}
{"Action":"fail","Test":"TestA","Elapsed":0.5}
{"Action":"run","Test":"TestB"}
{"Action":"fail"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || len(results[0].sub) != 1 || len(results[0].sub[0].sub) != 1 {
		t.Fatalf("wrong tree: %+v", results)
	}
	a, sub, b := results[0], results[0].sub[0], results[1]
	if a.name != "TestA" || a.outcome != "fail" || a.output != "" {
		t.Errorf("TestA: %+v", a)
	}
	if sub.name != "on_10.0.0.0/8" || sub.elapsed != time.Second/2 || sub.output != "    a_test.go:7: hello\n" {
		t.Errorf("its subtest: %+v", sub)
	}
	if again := sub.sub[0]; again.name != "again" || again.outcome != "skip" {
		t.Errorf("the subtest's subtest: %+v", again)
	}
	if b.name != "TestB" || b.outcome != "" {
		t.Errorf("TestB, which never ended: %+v", b)
	}
}

func TestReadResultsBroken(t *testing.T) {
	if results, err := readResults(strings.NewReader(`{"Action":`)); err == nil {
		t.Errorf("got %+v, want an error", results)
	}
}
