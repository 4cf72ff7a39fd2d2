package main

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A runner is this program once more, as a process in the hypervisor that starts
// other programs and times them. So the time of getting into the hypervisor's
// namespaces is in no result, and the process that starts them is small and
// does nothing else meanwhile.
type runner struct {
	cmd     *exec.Cmd
	input   io.WriteCloser
	jobs    *gob.Encoder
	timings *gob.Decoder
}

// runnerArgument, alone on the command line, makes this program a runner.
const runnerArgument = "run-processes"

// A job is a program to run.
type job struct {
	Args  []string // the program's path first
	Env   []string
	Stdin []byte // at most what fits in a pipe, 64 KiB
}

// A timing is what a job took from before its fork until after its exit.
type timing struct {
	Wall, CPU time.Duration
	Failure   string // why it is no result, "" when it is one
}

func (s *site) startRunner(ctx context.Context) (*runner, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &runner{cmd: exec.CommandContext(ctx, self, runnerArgument)}
	r.cmd.Stderr = os.Stderr
	input, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.input, r.jobs, r.timings = input, gob.NewEncoder(input), gob.NewDecoder(output)
	if err := s.network.Hypervisor.Start(r.cmd); err != nil {
		return nil, fmt.Errorf("start the runner: %w", err)
	}
	return r, nil
}

// time runs a job and times it.
func (r *runner) time(j job) (timing, error) {
	var t timing
	if err := r.jobs.Encode(j); err != nil {
		return t, fmt.Errorf("runner: %w", err)
	}
	if err := r.timings.Decode(&t); err != nil {
		return t, fmt.Errorf("runner: %w", err)
	}
	if t.Failure != "" {
		return t, fmt.Errorf("%s: %s", strings.Join(j.Args, " "), t.Failure)
	}
	return t, nil
}

func (r *runner) close() error {
	return errors.Join(r.input.Close(), r.cmd.Wait())
}

// serveJobs is the runner's own side.
func serveJobs(in io.Reader, out io.Writer) error {
	// The thread that starts a process must live as long: see Pdeathsig.
	runtime.LockOSThread()
	jobs, timings := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var j job
		err := jobs.Decode(&j)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		t, err := j.run()
		if err != nil {
			t.Failure = err.Error()
		}
		if err := timings.Encode(t); err != nil {
			return err
		}
	}
}

// run runs the job. All that it reads is in its pipe before it starts.
func (j job) run() (timing, error) {
	stdin, feed, err := os.Pipe()
	if err != nil {
		return timing{}, err
	}
	defer stdin.Close()
	_, err = feed.Write(j.Stdin)
	if err = errors.Join(err, feed.Close()); err != nil {
		return timing{}, err
	}
	stdout, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return timing{}, err
	}
	defer stdout.Close()
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return timing{}, err
	}
	stderr := os.NewFile(uintptr(fd), "stderr")
	defer stderr.Close()
	attributes := &os.ProcAttr{
		Dir: "/", Env: j.Env, Files: []*os.File{stdin, stdout, stderr},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}

	begin := time.Now()
	process, err := os.StartProcess(j.Args[0], j.Args, attributes)
	if err != nil {
		return timing{}, err
	}
	state, err := process.Wait()
	wall := time.Since(begin)

	if err != nil {
		return timing{}, err
	}
	if !state.Success() {
		said, _ := io.ReadAll(io.NewSectionReader(stderr, 0, 4096))
		return timing{}, fmt.Errorf("%v: %s", state, strings.TrimSpace(string(said)))
	}
	return timing{Wall: wall, CPU: state.UserTime() + state.SystemTime()}, nil
}
