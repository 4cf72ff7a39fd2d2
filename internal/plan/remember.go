package plan

import (
	"strings"

	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/host"
)

// Remember gives a network that is asked only once for the names and the facts of a
// parent, for plans of many VMs at one time.
func Remember(n Network) Network {
	return &memory{Network: n, names: map[string][]string{}, facts: map[string]facts.Facts{}, asked: map[string]facts.Facts{}, absent: map[string][]host.Absent{}, policies: map[string]*resolution{}}
}

type memory struct {
	Network
	names  map[string][]string
	facts  map[string]facts.Facts
	asked  map[string]facts.Facts
	absent map[string][]host.Absent // by all the names

	policies map[string]*resolution // by what they are made of
}

// Names asks once for a parent.
func (m *memory) Names(parent string) ([]string, error) {
	return once(m.names, parent, m.Network.Names)
}

// Facts asks once for a parent.
func (m *memory) Facts(parent string) (facts.Facts, error) {
	return once(m.facts, parent, m.Network.Facts)
}

// Ask asks once for a parent.
func (m *memory) Ask(parent string) (facts.Facts, error) {
	return once(m.asked, parent, m.Network.Ask)
}

// Absent asks once for names.
func (m *memory) Absent(names []string) ([]host.Absent, error) {
	return once(m.absent, strings.Join(names, " "), func(string) ([]host.Absent, error) { return m.Network.Absent(names) })
}

// once gives what is known, or asks; what fails is asked again.
func once[V any](known map[string]V, parent string, ask func(string) (V, error)) (V, error) {
	if v, ok := known[parent]; ok {
		return v, nil
	}
	v, err := ask(parent)
	if err == nil {
		known[parent] = v
	}
	return v, err
}
