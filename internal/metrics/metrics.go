// Package metrics gives a status in the words of Prometheus: as text that
// node_exporter's textfile collector reads, or that Prometheus fetches from watch.
//
// Every series of an interface has the labels vm, uuid and device, which are its
// identity; what else is known of it is in macvtap_filter_interface_info, to be
// joined. Counters are the kernel's own, never sums of ours over time: a device's count
// from when it was made, and drops from when the rules that stand were programmed. They
// begin anew with these, as Prometheus expects of counters.
package metrics

import (
	"io"
	"runtime"
	"strings"
	"time"

	"macvtap-filter/internal/status"
)

// prefix begins the name of every metric.
const prefix = "macvtap_filter_"

// Write writes a status, which took so long to collect, as Prometheus text
// (exposition format 0.0.4). version is the program's, as the command of that name gives it.
func Write(w io.Writer, s status.Status, took time.Duration, version string) error {
	p := newPage(w)
	p.family("build_info", gauge, "The program's version; always 1.")
	p.sample(1, "", pair("version", version), pair("goversion", runtime.Version()))
	p.watch(s)
	p.guard(s)
	p.parents(s)
	p.config(s)
	p.sets(s.Sets)
	p.interfaces(s.Interfaces)
	p.scrape(s, took)
	return p.end()
}

func (p *page) watch(s status.Status) {
	p.family("watch_up", gauge, "Whether a watch runs that keeps the rules standing.")
	p.flag(s.Watch != nil)
	if s.Watch != nil {
		p.family("watch_start_time_seconds", gauge, "When watch began, in seconds since the epoch.")
		p.sample(seconds(s.Watch.Since), "")
	}
}

func (p *page) guard(s status.Status) {
	p.family("guard_up", gauge, "Whether a guard stands that closes devices without rules.")
	p.flag(s.Guard != nil)
	if s.Guard == nil {
		return
	}
	flows := []flow{{fromVM, s.Guard.FromVM}, {toVM, s.Guard.ToVM}}
	p.packets("guard_dropped", "Packets that the guard dropped, of devices without rules of their own.", func(name, help string) {
		p.family(name, counter, help)
		for _, f := range flows {
			p.drops("", f)
		}
	})
	p.family("guard_dropped_bytes_total", counter, "Bytes of the packets that the guard dropped.")
	for _, f := range flows {
		p.droppedBytes("", f)
	}
}

func (p *page) parents(s status.Status) {
	p.family("absent_parents", gauge, "How many names in parents no NIC of this host has.")
	p.sample(float64(len(s.AbsentParents)), "")
}

// The directions, as labels.
const (
	fromVM = `direction="from-vm"`
	toVM   = `direction="to-vm"`
)

// A flow is what was dropped in one direction.
type flow struct {
	direction string
	drops     []status.Drop
}

// packets writes a count of packets by its name, and by its former one, which the next
// release leaves out.
func (p *page) packets(name, help string, write func(name, help string)) {
	write(name+"_packets_total", help)
	write(name+"_frames_total", "Deprecated: the same as "+prefix+name+"_packets_total.")
}

// word makes a value of ours fit for a label: without blanks.
func word[V ~string](value V) string { return strings.ReplaceAll(string(value), " ", "-") }

// drops writes the frames that were dropped one way for each reason.
func (p *page) drops(labels string, f flow) {
	for _, d := range f.drops {
		p.sample(float64(d.Packets), labels, f.direction, pair("reason", d.Reason))
	}
}

// droppedBytes writes the bytes that were dropped one way, for all reasons together:
// there are some forty reasons, and one figure for each is enough.
func (p *page) droppedBytes(labels string, f flow) {
	if f.drops == nil {
		return
	}
	var sum uint64
	for _, d := range f.drops {
		if d.Bytes != nil {
			sum += *d.Bytes
		}
	}
	p.sample(float64(sum), labels, f.direction)
}

// config writes whether the configuration is right, and its sum.
func (p *page) config(s status.Status) {
	if s.ConfigHash == "" && s.ConfigError == "" {
		return
	}
	p.family("config_valid", gauge, "Whether the configuration's files can be read and are right.")
	p.flag(s.ConfigError == "")
	if s.ConfigHash != "" {
		p.family("config_info", gauge, "A hash of the configuration's files, conf.d's included; always 1.")
		p.sample(1, "", pair("hash", s.ConfigHash))
	}
}

func (p *page) sets(sets []status.Set) {
	p.family("set_elements", gauge, "How many elements of interfaces a set has to which rules add.")
	for _, s := range sets {
		p.sample(float64(s.Elements), "", pair("set", s.Name))
	}
	p.family("set_max_elements", gauge, "How many such a set takes at most.")
	for _, s := range sets {
		p.sample(float64(s.Most), "", pair("set", s.Name))
	}
}

func (p *page) interfaces(all []status.Interface) {
	identity := make([]string, len(all))
	for n, i := range all {
		identity[n] = strings.Join([]string{pair("vm", i.VM), pair("uuid", i.UUID), pair("device", i.Device)}, ",")
	}
	each := func(name, kind, help string, write func(labels string, i status.Interface)) {
		p.family(name, kind, help)
		for n, i := range all {
			write(identity[n], i)
		}
	}
	each("interface_info", gauge, "A macvtap interface, the NIC that it sits on, and the policy that its rules follow; always 1.", func(labels string, i status.Interface) {
		p.sample(1, labels, pair("parent", i.Parent), pair("policy", i.Policy), pair("mac", i.MAC))
	})
	each("interface_state", gauge, "1 for the state that the interface is in, 0 for all others; no state is 1 where nobody could tell.", func(labels string, i status.Interface) {
		for _, s := range status.States() {
			p.sample(number(i.State == s), labels, pair("state", word(s)))
			if former := string(s); former != word(s) { // for a release, as packets does
				p.sample(number(i.State == s), labels, pair("state", former))
			}
		}
	})
	each("interface_state_change_timestamp_seconds", gauge, "When the interface's state began, or watch did, in seconds since the epoch.", func(labels string, i status.Interface) {
		if i.Since != nil {
			p.sample(seconds(*i.Since), labels)
		}
	})
	p.addresses(each)
	p.traffic(each)
	p.dropped(each)
}

type eachInterface func(name, kind, help string, write func(labels string, i status.Interface))

// addresses writes which addresses are the VM's own. Shares bound how many rules learn, and
// so these series: of IPv4 8 at once and 4 more a day, of IPv6 16 and 16 (see filter.learn).
func (p *page) addresses(each eachInterface) {
	each("address_info", gauge, "An address that the rules take for the VM's own, and how it is known; always 1.", func(labels string, i status.Interface) {
		for _, a := range i.Addresses {
			p.sample(1, labels, pair("address", a.Address.String()), pair("source", word(a.Source)))
		}
	})
	each("address_first_seen_timestamp_seconds", gauge, "When watch first saw that an address is the VM's own, or began, in seconds since the epoch.", func(labels string, i status.Interface) {
		for _, a := range i.Addresses {
			if a.Since != nil {
				p.sample(seconds(*a.Since), labels, pair("address", a.Address.String()))
			}
		}
	})
	each("learned_addresses", gauge, "How many of the VM's own addresses the rules have learned.", func(labels string, i status.Interface) {
		if i.Rules == 0 {
			return
		}
		ipv4, ipv6 := 0, 0
		for _, a := range i.Addresses {
			switch {
			case !a.Source.Learned():
			case a.Address.Is4():
				ipv4++
			default:
				ipv6++
			}
		}
		p.sample(float64(ipv4), labels, pair("family", "ipv4"))
		p.sample(float64(ipv6), labels, pair("family", "ipv6"))
	})
}

// traffic writes what the devices counted. What passed to a VM is no counter: it is
// what arrived less what was dropped, and the latter begins anew with the rules.
func (p *page) traffic(each eachInterface) {
	count := func(name, help string, of func(status.Interface) *status.Count) {
		p.packets(name, "Packets "+help, func(name, help string) {
			each(name, counter, help, func(labels string, i status.Interface) {
				if c := of(i); c != nil {
					p.sample(float64(c.Packets), labels)
				}
			})
		})
		each(name+"_bytes_total", counter, "Bytes of the packets "+help, func(labels string, i status.Interface) {
			if c := of(i); c != nil {
				p.sample(float64(c.Bytes), labels)
			}
		})
	}
	count("sent", "from the VM that the rules let pass.", func(i status.Interface) *status.Count { return i.FromVM.Passed })
	count("arrived", "that came for the VM, before the rules judged them: what passed is this less what was dropped.", func(i status.Interface) *status.Count { return i.ToVM.Arrived })
}

func (p *page) dropped(each eachInterface) {
	flows := func(i status.Interface) []flow { return []flow{{fromVM, i.FromVM.Drops}, {toVM, i.ToVM.Drops}} }
	p.packets("dropped", "Packets that the rules dropped, since they were programmed.", func(name, help string) {
		each(name, counter, help, func(labels string, i status.Interface) {
			for _, f := range flows(i) {
				p.drops(labels, f)
			}
		})
	})
	each("dropped_bytes_total", counter, "Bytes of the packets that the rules dropped, for all reasons together.", func(labels string, i status.Interface) {
		for _, f := range flows(i) {
			p.droppedBytes(labels, f)
		}
	})
}

func (p *page) scrape(s status.Status, took time.Duration) {
	p.family("problems", gauge, "How much is wrong or not known; \"macvtap-filter status\" says what.")
	p.sample(float64(len(s.Notes)), "")
	p.family("scrape_success", gauge, "Whether everybody who was asked for these figures answered.")
	p.flag(s.Complete)
	if !s.Time.IsZero() {
		p.family("scrape_timestamp_seconds", gauge, "When these figures were collected, in seconds since the epoch: a textfile stays when nobody writes it any more.")
		p.sample(seconds(s.Time), "")
	}
	p.family("scrape_duration_seconds", gauge, "How long it took to collect these figures.")
	p.sample(took.Seconds(), "")
}

func (p *page) flag(on bool) { p.sample(number(on), "") }

func number(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// seconds gives a time in seconds since the epoch, to the millisecond.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
