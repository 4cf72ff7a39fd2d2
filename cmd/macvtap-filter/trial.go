package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/watch"
)

// A change may cut off who makes it. On trial, it is taken back unless he confirms it, as routers
// do. Nothing that decides about rules reads the candidate but the process that tries it, and a
// watch for as long as that one is connected: the hook, a watch or a host that start meanwhile or
// afterwards find the configuration in force, until the candidate takes its file's place.
//
// Two processes try it. The one that was called asks for the confirmation; the keeper, in a session
// of its own, applies and takes back. However the first ends, its pipe to the keeper is closed.

// keeperVariable is set for the keeper.
const keeperVariable = "MACVTAP_FILTER_KEEPER"

// yes is what confirms.
const yes = "yes"

// onTrial applies a configuration on trial, or confirms the one that is.
func onTrial(ctx context.Context, std streams, o options, args []string) error {
	inForce := configFile()
	switch {
	case o.confirmed:
		if o.confirm >= 0 || o.all || len(args)+len(o.devices) > 0 {
			return badInput(errors.New("--confirmed goes alone"))
		}
		return confirmTrial(ctx, std)
	case o.confirm < 1 || o.confirm > 86400:
		return badInput(fmt.Errorf("--confirm %d: want 1 to 86400 seconds", o.confirm))
	case !o.all || len(args)+len(o.devices) > 0 || o.dryRun || o.diff || o.json:
		return badInput(errors.New("--confirm goes with --all, and not with --dry-run, --diff or --json: a configuration is for all VMs"))
	case sameFile(o.config, inForce) || filepath.Dir(absolute(o.config)) != filepath.Dir(absolute(inForce)):
		return badInput(fmt.Errorf("--confirm: want the new configuration in a file beside the one in force, as in: cp %s %s, edit that, and --config %[2]s", inForce, filepath.Join(filepath.Dir(inForce), "new.toml")))
	}
	before, err := config.Read(inForce)
	var former *config.Config
	if err == nil {
		former, err = before.Parse()
	}
	if err != nil {
		return badInput(fmt.Errorf("--confirm: there is nothing to go back to: %w", err))
	}
	text, err := config.Read(o.config)
	if err != nil {
		return badInput(err)
	}
	c, err := load(ctx, o.config)
	if err != nil {
		return badInput(err)
	}
	k := &keeper{std: std, options: o, inForce: inForce, before: before.Hash(), former: former, config: c, hash: text.Hash()}
	ctx = context.WithoutCancel(ctx)
	if os.Getenv(keeperVariable) != "" {
		return k.keep(ctx)
	}
	return k.start(ctx)
}

// start starts the keeper as a process, hands on what is confirmed, and waits for its end. Where
// somebody kills it, the change is taken back here.
func (k *keeper) start(ctx context.Context) error {
	std := k.std
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	keeper := exec.Command("/proc/self/exe", os.Args[1:]...)
	keeper.Args[0] = os.Args[0]
	keeper.Env = append(os.Environ(), keeperVariable+"=1")
	keeper.Stdout, keeper.Stderr = std.out, std.err
	if file, ok := fileOf(std.out); ok {
		keeper.Stdout = file // without a goroutine of ours in between
	}
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		return fmt.Errorf("start the process that takes the change back: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- keeper.Wait() }()
	go readAnswer(std.in, in)
	for {
		select {
		case <-signals:
			_ = in.Close()
		case err := <-ended:
			if died(keeper.ProcessState) {
				if now, err := config.Read(k.inForce); err == nil && now.Hash() == k.hash {
					return fmt.Errorf("confirmed, and the process that had it on trial was killed: run \"macvtap-filter apply --all\"")
				}
				return k.back(ctx, "the process that tried it was killed")
			}
			if err != nil {
				return errTold // the keeper said why
			}
			return nil
		}
	}
}

// died reports whether a process ended otherwise than by itself: by a signal, or, as Go's runtime
// ends it, by a fault of its own.
func died(s *os.ProcessState) bool { return s.ExitCode() < 0 || s.ExitCode() == 2 }

// readAnswer hands the first line on. That there is none says nothing: it may be confirmed from
// elsewhere.
func readAnswer(from io.Reader, to io.WriteCloser) {
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil {
		return
	}
	line = strings.TrimSpace(line)
	file, _ := from.(*os.File)
	if line == yes || line == "" && file != nil && isTerminal(file) {
		fmt.Fprintln(to, yes)
	}
	_ = to.Close()
}

// oneTrial makes sure that no other change is on trial, until release is called or the process ends.
func oneTrial(name string) (release func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, errors.New("another change is on trial: confirm that with \"macvtap-filter apply --confirmed\", or wait until it is taken back")
	}
	return func() { _ = file.Close() }, nil
}

// confirmTrial confirms what is on trial.
func confirmTrial(ctx context.Context, std streams) error {
	name, err := watch.TrialSocket("trial")
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("nothing is on trial: it was confirmed or taken back already")
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	fmt.Fprintln(conn, yes)
	answer, err := io.ReadAll(conn)
	switch {
	case err != nil:
		return fmt.Errorf("the process that has the change on trial does not answer: %w", err)
	case strings.TrimSpace(string(answer)) != yes:
		return fmt.Errorf("not confirmed: it is being taken back")
	}
	notef(std, "confirmed")
	return nil
}

// A keeper has a configuration on trial.
type keeper struct {
	std     streams
	options options
	inForce string // the file of the configuration in force
	before  string // the hash of what it says
	former  *config.Config
	config  *config.Config
	hash    string
	trial   *watch.Trial
}

// keep applies the candidate, waits for its confirmation, and does what is to be done then.
func (k *keeper) keep(ctx context.Context) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	name, err := watch.TrialSocket("trial")
	if err != nil {
		return err
	}
	release, err := oneTrial(strings.TrimSuffix(name, ".sock") + ".lock")
	if err != nil {
		return err
	}
	defer release()
	content, err := os.ReadFile(k.options.config)
	if err != nil {
		return badInput(err)
	}
	k.trial, err = watch.Try(ctx, watch.Candidate{File: absolute(k.options.config), Hash: k.hash})
	var lost <-chan struct{}
	switch {
	case err == nil:
		lost = k.trial.Ended
	case !errors.Is(err, watch.ErrNotRunning):
		return err
	}
	answers := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		answers <- strings.TrimSpace(line) == yes
	}()
	if err := k.apply(ctx, k.config); err != nil {
		return k.back(ctx, fmt.Sprintf("it could not be applied: %v", err))
	}
	listener, err := watch.ListenAt(name)
	if err != nil {
		return k.back(ctx, fmt.Sprintf("nobody could confirm it from elsewhere: %v", err))
	}
	defer func() { _ = listener.Close() }()
	asked := make(chan net.Conn)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if confirms(conn) {
					asked <- conn
				} else {
					_ = conn.Close()
				}
			}()
		}
	}()
	notef(k.std, "%s is in force on trial: press Enter, or run \"macvtap-filter apply --confirmed\", within %d seconds, or it is taken back", k.options.config, k.options.confirm)
	select {
	case <-time.After(time.Duration(k.options.confirm) * time.Second):
		return k.back(ctx, "nobody confirmed it in time")
	case s := <-signals:
		return k.back(ctx, fmt.Sprintf("it was interrupted: %v", s))
	case <-lost:
		return k.back(ctx, "watch ended or was restarted")
	case sure := <-answers:
		if !sure {
			return k.back(ctx, "the command that tried it ended, or was answered otherwise")
		}
		return k.stay(ctx, content, func(bool) {})
	case conn := <-asked:
		return k.stay(ctx, content, func(stays bool) {
			if stays {
				fmt.Fprintln(conn, yes)
			}
			_ = conn.Close()
		})
	}
}

// confirms reports whether who connects says so: others may only look whether somebody listens.
func confirms(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(patience.Ask))
	word, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.TrimSpace(word) == yes
}

// stay puts the candidate in the place of the configuration in force. It tells who asks as soon as
// it knows: what is left to do may take a while.
func (k *keeper) stay(ctx context.Context, content []byte, tell func(stays bool)) error {
	if now, err := config.Read(k.inForce); err != nil || now.Hash() != k.before {
		tell(false)
		return k.back(ctx, fmt.Sprintf("somebody has changed %s meanwhile", k.inForce))
	}
	if err := replaceFile(k.inForce, content); err != nil {
		tell(false)
		return k.back(ctx, fmt.Sprintf("it could not be written: %v", err))
	}
	if k.trial != nil {
		_ = k.trial.Confirm() // it reads the file, too
	}
	tell(true)
	if err := k.apply(ctx, k.config); err != nil { // VMs that started meanwhile have the former rules
		k.log(journal.Error, fmt.Sprintf("not all rules are those of %s: %v: run \"macvtap-filter apply --all\"", k.inForce, err))
	}
	k.log(journal.Info, fmt.Sprintf("confirmed: %s has what is in %s", k.inForce, k.options.config))
	return nil
}

// The attempts to take a change back, and the pause between them.
const (
	backAttempts = 12
	backPause    = 5 * time.Second
)

// back takes the change back: the configuration in force decides about all that runs by now.
func (k *keeper) back(ctx context.Context, why string) error {
	if k.trial != nil {
		k.trial.End()
	}
	for attempt := 1; ; attempt++ {
		c, err := load(ctx, k.inForce)
		if err != nil { // somebody is at it: what it said before counts
			c = k.former
		}
		if err = k.apply(ctx, c); err == nil {
			break
		}
		k.log(journal.Error, fmt.Sprintf("%s cannot be taken back yet: %v", k.options.config, err))
		if attempt == backAttempts {
			k.log(journal.Error, fmt.Sprintf("%s is not taken back for all VMs, for the reasons above: mend these, and run \"macvtap-filter apply --all\"", k.options.config))
			return errTold
		}
		time.Sleep(backPause)
	}
	k.log(journal.Warning, fmt.Sprintf("%s is taken back, since %s: the rules are those of %s", k.options.config, why, k.inForce))
	return errTold
}

// apply has all rules stand as a configuration says.
func (k *keeper) apply(ctx context.Context, c *config.Config) error {
	a := applier{std: k.std, options: k.options, config: c}
	return anew(ctx, func(ctx context.Context) error { return a.run(ctx, nil) })
}

// log tells the terminal, which may be gone, and the journal.
func (k *keeper) log(to func(string, journal.Fields), text string) {
	notef(k.std, "%s", text)
	to(text, journal.Fields{Reason: journal.Config})
}

// replaceFile writes a file anew, whole or not at all, with the mode and the owner that it has.
func replaceFile(name string, content []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	was, err := os.Stat(name)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // it has the other name by then
	_, err = file.Write(content)
	if owner, ok := was.Sys().(*syscall.Stat_t); ok && err == nil {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	err = errors.Join(err, file.Chmod(was.Mode().Perm()), file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

func absolute(name string) string {
	if full, err := filepath.Abs(name); err == nil {
		return full
	}
	return name
}
