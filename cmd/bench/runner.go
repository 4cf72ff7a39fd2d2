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

// A timing is what jobs took that ran at once, from before the first one's fork until
// after the last one's exit.
type timing struct {
	Wall, CPU time.Duration
	Failures  []string // what each that failed said
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
	t, err := r.timeAll([]job{j})
	if err == nil && len(t.Failures) > 0 {
		err = fmt.Errorf("%s: %s", strings.Join(j.Args, " "), t.Failures[0])
	}
	return t, err
}

// timeAll runs jobs at once and times them as one. That some failed is no error.
func (r *runner) timeAll(jobs []job) (timing, error) {
	var t timing
	if err := r.jobs.Encode(jobs); err != nil {
		return t, fmt.Errorf("runner: %w", err)
	}
	if err := r.timings.Decode(&t); err != nil {
		return t, fmt.Errorf("runner: %w", err)
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
		var batch []job
		err := jobs.Decode(&batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := timings.Encode(runAll(batch)); err != nil {
			return err
		}
	}
}

// runAll runs jobs at once.
func runAll(jobs []job) timing {
	var t timing
	started := make([]*started, len(jobs))
	var failures []error
	for i, j := range jobs {
		var err error
		if started[i], err = j.prepare(); err != nil {
			failures = append(failures, err)
		}
	}
	begin := time.Now()
	for _, s := range started {
		if s != nil {
			s.start()
		}
	}
	for _, s := range started {
		if s == nil {
			continue
		}
		cpu, err := s.wait()
		if t.CPU += cpu; err != nil {
			failures = append(failures, err)
		}
	}
	t.Wall = time.Since(begin)
	for _, s := range started {
		if s != nil {
			s.close()
		}
	}
	for _, err := range failures {
		t.Failures = append(t.Failures, err.Error())
	}
	return t
}

// A started is a job on its way: its process, and the files it reads and writes.
type started struct {
	job
	files   []*os.File // standard input, output, error
	process *os.Process
	failure error
}

// prepare opens the job's files. All that it reads is in its pipe before it starts.
func (j job) prepare() (*started, error) {
	s := &started{job: j}
	stdin, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, stdin)
	_, err = feed.Write(j.Stdin)
	if err = errors.Join(err, feed.Close()); err != nil {
		s.close()
		return nil, err
	}
	stdout, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		s.close()
		return nil, err
	}
	s.files = append(s.files, stdout)
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC)
	if err != nil {
		s.close()
		return nil, err
	}
	s.files = append(s.files, os.NewFile(uintptr(fd), "stderr"))
	return s, nil
}

func (s *started) start() {
	s.process, s.failure = os.StartProcess(s.Args[0], s.Args, &os.ProcAttr{
		Dir: "/", Env: s.Env, Files: s.files,
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
}

// wait waits for the job's end, and gives the processors' time that it took.
func (s *started) wait() (time.Duration, error) {
	if s.failure != nil {
		return 0, s.failure
	}
	state, err := s.process.Wait()
	if err != nil {
		return 0, err
	}
	cpu := state.UserTime() + state.SystemTime()
	if !state.Success() {
		said, _ := io.ReadAll(io.NewSectionReader(s.files[2], 0, 4096))
		return cpu, fmt.Errorf("%v: %s", state, strings.TrimSpace(string(said)))
	}
	return cpu, nil
}

func (s *started) close() {
	for _, f := range s.files {
		f.Close()
	}
}
