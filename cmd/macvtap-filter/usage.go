package main

import (
	"errors"
	"fmt"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/journal"
)

// What the program says. Data goes to standard output; everything else goes to
// standard error with the prefix "macvtap-filter: ", begins in lower case and has
// no full stop.

func errorf(std streams, format string, args ...any) {
	say(std, "error: "+format, args...)
}

// fail says why something failed, and of a configuration all that is wrong with it.
func fail(std streams, err error) {
	for _, err := range apart(err) {
		wrong, ok := errors.AsType[*config.Error](err)
		if !ok || wrong.Error() != err.Error() { // who says more says it in one line
			errorf(std, "%v", err)
			continue
		}
		for _, m := range wrong.Mistakes {
			errorf(std, "%v", m)
			fmt.Fprint(std.err, m.Excerpt())
		}
		if wrong.More > 0 {
			errorf(std, "and %d more", wrong.More)
		}
	}
}

// eachMistake gives a line for each mistake of a configuration where an error is about one,
// or else the one that the error is.
func eachMistake(err error) []string {
	wrong, ok := errors.AsType[*config.Error](err)
	if !ok {
		return []string{err.Error()}
	}
	var out []string
	line := func(text string) { out = append(out, strings.Replace(err.Error(), wrong.Error(), text, 1)) }
	for _, m := range wrong.Mistakes {
		line(m.String())
	}
	if wrong.More > 0 {
		line(fmt.Sprintf("and %d more", wrong.More))
	}
	return out
}

// apart gives the errors that were joined in one: several interfaces may have failed,
// each for a reason of its own. There are none in nil.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	var parts []error
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		parts = many.Unwrap()
	}
	if joined := errors.Join(parts...); joined == nil || joined.Error() != err.Error() {
		return []error{err} // it is one, or says more than its parts
	}
	var all []error
	for _, part := range parts {
		all = append(all, apart(part)...)
	}
	return all
}

func warningf(std streams, format string, args ...any) {
	say(std, "warning: "+format, args...)
}

func notef(std streams, format string, args ...any) {
	say(std, format, args...)
}

// say says one thing in one line, whatever is in it.
func say(std streams, format string, args ...any) {
	fmt.Fprintf(std.err, "macvtap-filter: %s\n", journal.Line(fmt.Sprintf(format, args...)))
}

const usage = `macvtap-filter closes the local network to VMs on macvtap devices.

usage: macvtap-filter [--config FILE] COMMAND …

commands:
  apply VM… | --all     have the rules of running VMs stand as they should
  remove VM… | --all    remove the rules of VMs
  status [VM…]          show interfaces, their rules' state, and what was dropped
  log [VM…]             show what is dropped as it happens, of whom, and what would open it
  verify [VM… | --all]  compare the kernel with what should be there, and mend it
  addresses [VM…]       show or change which addresses are each VM's own
  render [FILE | -]     print the rules for a domain XML as nft text
  explain …             say what happens to a frame, which rule decides, and why
  reach VM              say all that a VM can open, and who can open what on it
  test [FILE…]          say whether a configuration keeps its own [[test]] sections
  metrics               print the host's figures for Prometheus
  facts PARENT…         print what the words of a policy stand for on this host
  check                 say whether this host is ready, and what to mend
  watch                 keep the rules standing, whatever happens
  version | --version   print the version

Each command has --help. The configuration is /etc/macvtap-filter/config.toml
with conf.d/*.toml beside it; --config FILE or the variable MACVTAP_FILTER_CONFIG name
another.

libvirt calls the program by itself when it is in /etc/libvirt/hooks/qemu.d/:
  macvtap-filter NAME start begin -  <domain.xml

exit codes: 0 done; 1 failed, or something is not as it should be; 2 wrong usage, configuration or XML
`

const applyUsage = `usage: macvtap-filter apply [--dry-run] [--diff] [--json] VM… | --device DEV… | --all
       macvtap-filter apply --all --confirm SECONDS --config NEW
       macvtap-filter apply --confirmed

Asks libvirt for the live XML of running VMs and programs their rules, each VM's in
one transaction. An interface whose rules stand as they should keeps these, and what
they counted. With --all, every running VM, and every device that a [[device]]
section is for; rules of devices that are gone are removed, and the guard is raised or
taken away as the configuration says.

  --device DEV   a macvtap device that libvirt has no VM for, by its [[device]]
                 section; it may use the MAC address that it has now. It needs no
                 libvirt, and may be given several times
  --dry-run      print the rules instead, as nft text, those that stand already
                 included, and change nothing
  --diff         print instead what they would open and close, and how they would
                 differ from those that stand, as a diff, and change nothing
  --json         print what changed as JSON, as macvtap-filter(8) describes it: of each
                 interface, and whether anything did; with --dry-run, what would
  --confirm SECONDS
                 apply NEW, a configuration beside the one in force, on trial: it takes
                 that one's place when Enter is pressed, "yes" is read, or --confirmed
                 comes from elsewhere; else, and when this process or its terminal ends,
                 the rules go back to the configuration in force, which stays as it is
  --confirmed    confirm what is on trial
  --config FILE  another configuration

example: macvtap-filter apply web-1 web-2
example: macvtap-filter apply --all --confirm 60 --config /etc/macvtap-filter/new.toml
`

const removeUsage = `usage: macvtap-filter remove [--dry-run] [--diff] VM… | --device DEV… | --all

Removes the rules of VMs: their interfaces are open to the local network then. It
needs no libvirt; a VM is named as it was when its rules were made, or by its UUID.
Where watch runs, which would put them back, nothing is removed: stop it first.
With --all, the guard is removed, too.

  --device DEV   the rules of a macvtap device that libvirt has no VM for; it may be
                 given several times
  --dry-run      say whose rules would go, and change nothing
  --diff         print what would go instead, as a diff, and change nothing
`

const verifyUsage = `usage: macvtap-filter verify [--repair [--dry-run]] [--json] [VM… | --device DEV… | --all]

Compares the rules in the kernel with those that should be there for running VMs,
rule by rule, and the devices that they are bound to; without arguments, of all.
Prints each difference in the words of nft: a line that begins with "-" is
missing, one with "+" should not be there. It finds, too

  drifted        other rules than should stand, for a device
  unprotected    no rules, for a device that should have some
  stale          rules of a device that is gone, or of no running VM

Without libvirt, it compares what status does, and says so.
Exits 0 when all is as it should be, 1 when it is not. Who goes on starting and
stopping VMs meanwhile causes no finding.

  --device DEV   a macvtap device that libvirt has no VM for, by its [[device]]
                 section; it may be given several times
  --repair       program what should be there, remove what should not, and say so;
                 then 0 means that all is as it should be now
  --dry-run      change nothing, in spite of --repair
  --json         print the findings as JSON: a list of objects with state, vm, uuid,
                 interface, device, table, reason, diff and repaired
  --config FILE  another configuration

example: macvtap-filter verify --repair web-1
`

const renderUsage = `usage: macvtap-filter render [--format nft|json] [--facts FILE] [FILE | -]
       macvtap-filter render --check DIR [--diff OLD] | --output DIR … FILE|DIR…

Prints the rules for a domain XML, from a file or standard input, as they would be
programmed. It needs no privilege, no libvirt and none of the VM's devices. XML of
a VM that is shut off names no devices: they are called macvtap0, macvtap1, …

  --format nft   nft text that "nft -f" loads (the default)
  --format json  nft's JSON that "nft -j -f" loads
  --facts FILE   what "macvtap-filter facts PARENT" printed on the host; without
                 it, this host is asked where the policy has words to resolve
  --config FILE  another configuration

For CI, the rules of any number of VMs, from files and folders of *.xml: those of
domains/a/web.xml in domains are in DIR/a/web.nft (or .json).

  --check DIR    compares, prints each difference, and exits 1 if there is one, or
                 a file without its counterpart; failures are lines that GitHub
                 (when GITHUB_ACTIONS is true) or editors (file:line:) read
  --diff OLD     with --check, before each difference what it opens and closes:
                 OLD is the configuration that the golden files were written with
  --output DIR   writes them
  --code-quality FILE  writes the failures as GitLab's report, too

example: virsh dumpxml web-1 | macvtap-filter render
example: macvtap-filter render --facts facts.json --check rules domains
`

const factsUsage = `usage: macvtap-filter facts PARENT…

Prints, as JSON, what the words gateway, dns, broadcast and onlink stand for on a
NIC of this host.

example: macvtap-filter facts enp88s0 >facts.json
`

const checkUsage = `usage: macvtap-filter check [--json]

Checks the configuration, the parents, the kernel, the hook, watch, libvirt and what
runs, one line each: an interface without the rules that should stand is named. Exits
1 when something must be mended, 2 when that is the configuration.

  --json         print what was found as JSON, as macvtap-filter(8) describes it
  --config FILE  another configuration
`

const metricsUsage = `usage: macvtap-filter metrics [--textfile FILE]

Prints what was passed and dropped, and the states of all interfaces, as Prometheus
reads it: metrics macvtap_filter_…, with the labels vm, uuid and device. It exits 1
when something could not be found out, or a name in parents is no NIC of this host;
the rest is printed all the same. A running watch can serve the same by HTTP: see
"macvtap-filter watch --help".

  --textfile FILE  write it into a file, in one step, for the textfile collector of
                   node_exporter; its name ends in .prom
  --config FILE    another configuration

example: macvtap-filter metrics --textfile /var/lib/prometheus/node-exporter/macvtap-filter.prom
`

const watchUsage = `usage: macvtap-filter watch [--listen ADDRESS]

Runs until it is stopped, as a service usually, and keeps the rules standing: it
protects interfaces that are plugged into running VMs, puts back rules that others
removed or changed, follows the network and the configuration, and removes what
devices that are gone leave behind. When it stops, the rules stay.

SIGHUP has it read the configuration again; it does so by itself when the file
changes. One that is wrong changes nothing, and is logged.

  --listen ADDRESS  have the figures that "macvtap-filter metrics" prints read by
                    Prometheus, at a loopback address (127.0.0.1:9477, path /metrics)
                    or a socket (unix:/run/FILE); counts before listen = in the
                    configuration, without either there are none
  --config FILE     another configuration
`

const versionUsage = `usage: macvtap-filter version
`

const completeUsage = `usage: macvtap-filter complete -- WORD…

Prints what may stand in the place of the last word of a command line, one a line,
for the completions of bash, zsh and fish.
`
