package bench

import (
	"bytes"
	"slices"
	"testing"
)

// What was written is what is read again, round by round, by the library that
// benchstat reads with.
func TestFormat(t *testing.T) {
	var r Results
	r.About = []Fact{{"goos", "linux"}, {"cpu", "a processor @ 2 GHz"}}
	tcp := Name("Guest", "way", "from the VM", "hook", "ours/guard")
	for _, v := range []float64{2310.25, 7, 1e9} {
		r.Add(tcp, Time, v)
		r.Add(tcp, Throughput, v*3)
	}
	r.Add(Name("Frame", "hosts", 10), Time, 12)

	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	again, err := Read(bytes.NewReader(text.Bytes()), "results")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	if want := []string{"Guest/way=from-the-VM/hook=ours:guard", "Frame/hosts=10"}; !slices.Equal(again.names, want) {
		t.Errorf("names %q, want %q", again.names, want)
	}
	if got, want := again.Of(tcp, Time), (Series{2310.25, 7, 1e9}); !slices.Equal(got, want) {
		t.Errorf("times %v, want %v", got, want)
	}
	if got, want := again.Of(tcp, Throughput), (Series{6930.75, 21, 3e9}); !slices.Equal(got, want) {
		t.Errorf("throughput %v, want %v", got, want)
	}
	if got := again.Fact("cpu"); got != "a processor @ 2 GHz" {
		t.Errorf("cpu %q", got)
	}
	if !again.Has("Frame") || again.Has("Guests") {
		t.Error("Has does not tell what was measured")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"", "BenchmarkX 1 many ns/op\n", "goos: linux\n"} {
		if _, err := Read(bytes.NewReader([]byte(text)), "results"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
