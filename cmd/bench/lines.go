package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// lines are a file of single results, as benchstat reads them
// (https://go.dev/design/14313-benchmark-format). The zero value writes none.
type lines struct {
	file *os.File
	out  *bufio.Writer
}

func newLines(name string) (*lines, error) {
	if name == "" {
		return new(lines), nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	l := &lines{file, bufio.NewWriter(file)}
	fmt.Fprintf(l.out, "goos: %s\ngoarch: %s\npkg: macvtap-filter/cmd/bench\ncpu: %s\nkernel: %s\n",
		runtime.GOOS, runtime.GOARCH, processor(), kernelRelease())
	return l, nil
}

// A result is one value of a benchmark.
type result struct {
	value float64
	unit  string
}

// write writes the results of one round. The name's parts after the first are KEY=VALUE.
func (l *lines) write(name []string, results ...result) {
	if l.out == nil {
		return
	}
	joined := strings.NewReplacer(" ", "-", ",", "").Replace(strings.Join(name, "/"))
	fmt.Fprintf(l.out, "Benchmark%s\t1", joined)
	for _, r := range results {
		fmt.Fprintf(l.out, "\t%.1f %s", r.value, r.unit)
	}
	fmt.Fprintln(l.out)
}

func (l *lines) close() error {
	if l.file == nil {
		return nil
	}
	return errors.Join(l.out.Flush(), l.file.Close())
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // only for the record
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return "unknown"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}
