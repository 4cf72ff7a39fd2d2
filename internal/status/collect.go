package status

import (
	"context"
	"fmt"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/watch"
)

// Options say where to look.
type Options struct {
	// ConfigFile says what should stand, where no watch runs that has read it.
	ConfigFile string
	// Connect opens a connection to libvirt, which is asked only for what nobody else
	// knows. It and the connection give up when the context ends.
	Connect func(context.Context) (Libvirt, error)
	// Patience bounds all that libvirt is asked for; 0 for patience.Status.
	Patience time.Duration
}

// A Libvirt knows the running VMs; *libvirt.Client does.
type Libvirt interface {
	RunningVMs(ctx context.Context) (map[string]string, error) // names by UUID
	LiveXML(ctx context.Context, name string) (string, error)
	Close()
}

// Collect asks everybody who knows something of the macvtap interfaces in the network
// namespace of the calling thread, and says what they said, as of now. It takes
// whatever answers, so that it never fails: what is missing is noted.
func Collect(ctx context.Context, o Options) Status {
	s := Sources{Time: time.Now()}
	c, wrong := s.config(o.ConfigFile)
	s.Watch, s.WatchErr = watch.Ask(ctx)
	s.Tables, s.TablesErr = kernel.Tallies(ctx)
	var err error
	if s.Plugs, err = kernel.Plugs(ctx); err != nil && s.TablesErr == nil {
		s.TablesErr = err
	}
	h, err := host.Open(ctx)
	if err != nil {
		s.DevicesErr = err
		return Make(s)
	}
	defer h.Close()
	if s.Devices, s.DevicesErr = h.Carriers(); s.DevicesErr == nil {
		s.checks()
		s.parents(h, c)
		newComparison(&s, h, o, c, wrong).run(ctx)
	}
	return Make(s)
}

// parents looks which of the parents that the configuration names are missing.
func (s *Sources) parents(h *host.Host, c *config.Config) {
	if c == nil {
		return // of whom it matters to, it is told
	}
	s.Prefixes = c.GuardPrefixes
	var err error
	if s.Absent, err = h.Absent(c.Literals()); err != nil {
		s.miss(fmt.Errorf("whether the parents are there is not known: %w", err))
	}
	for _, a := range s.Absent {
		s.Notes = append(s.Notes, fmt.Sprintf("parents in %s: %s", c.FileOf("parents"), a))
	}
}

// miss notes that something could not be found out.
func (s *Sources) miss(err error) {
	s.Partial = true
	s.Notes = append(s.Notes, err.Error())
}

// checks looks at the check of checksum offload on every device.
func (s *Sources) checks() {
	var indexes []int
	for _, d := range s.Devices {
		indexes = append(indexes, d.Index)
	}
	found, err := offload.Survey(indexes)
	if err != nil {
		s.ChecksErr = err
		return
	}
	s.Checks = map[int]Check{}
	for index, f := range found {
		s.Checks[index] = Check{f.Current, f.Drops}
	}
}

// config reads the configuration that says what should stand.
func (s *Sources) config(file string) (*config.Config, error) {
	text, err := config.Read(file)
	var c *config.Config
	if err == nil {
		s.ConfigHash = text.Hash()
		c, err = text.Parse()
	}
	if err != nil {
		s.ConfigError = err.Error()
		return nil, fmt.Errorf("what should stand is not known: %w", err)
	}
	return c, nil
}
