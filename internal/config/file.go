package config

import (
	"bytes"
	"errors"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// file is the configuration as it is written; reference.toml documents it.
type file struct {
	Parents   []string              `toml:"parents"`
	Reconnect *string               `toml:"reconnect"`
	Metadata  *string               `toml:"metadata"`
	Guard     *bool                 `toml:"guard"`
	Prefixes  *[]string             `toml:"guard_prefixes"`
	Others    *string               `toml:"guard_others"`
	HotPlug   *string               `toml:"hotplug"`
	Listen    *string               `toml:"listen"`
	Policy    map[string]filePolicy `toml:"policy"`
	Group     map[string]fileGroup  `toml:"group"`
	VM        []fileVM              `toml:"vm"`
	Device    []fileDevice          `toml:"device"`
	Test      []fileTest            `toml:"test"`
}

type filePolicy struct {
	Extends     *string   `toml:"extends"`
	Deny        *[]string `toml:"deny"`
	Allow       *[]string `toml:"allow"`
	Inbound     *[]string `toml:"inbound"`
	Outbound    *[]string `toml:"outbound"`
	Packets     *int      `toml:"max_packets"`
	NewFlows    *int      `toml:"max_new_flows"`
	Inflows     *int      `toml:"max_inbound_flows"`
	Broadcasts  *int      `toml:"max_broadcasts"`
	Serve       *[]string `toml:"serve"`
	EtherTypes  *[]string `toml:"ethertypes"`
	Spoofing    *string   `toml:"spoofing"`
	MACChanges  *string   `toml:"mac_changes"`
	Neighbours  *string   `toml:"neighbours"`
	Routers     *string   `toml:"routers"`
	Multicast   *string   `toml:"multicast"`
	DHCP        *string   `toml:"dhcp"`
	Tunnels     *string   `toml:"tunnels"`
	Offload     *string   `toml:"offload"`
	IPv6        *string   `toml:"ipv6"`
	NextHop     *string   `toml:"next_hop"`
	Learn       *string   `toml:"learn"`
	Isolate     *bool     `toml:"isolate"`
	GatewayMACs *[]string `toml:"gateway_macs"`
	Log         *bool     `toml:"log"`
}

// texts gives what stands in all lists of a policy.
func (p filePolicy) texts() []string {
	var out []string
	section := reflect.ValueOf(p)
	for i := range section.NumField() {
		if list, ok := section.Field(i).Interface().(*[]string); ok && list != nil {
			out = append(out, *list...)
		}
	}
	return out
}

type fileGroup struct {
	Members []string `toml:"members"`
}

type fileVM struct {
	Name   *string `toml:"name"`
	UUID   *string `toml:"uuid"`
	MAC    *string `toml:"mac"`
	Parent *string `toml:"parent"`
	Policy *string `toml:"policy"`

	Interface *int `toml:"interface"`

	Addresses []string `toml:"addresses"`
}

type fileDevice struct {
	Name   *string `toml:"name"`
	MAC    *string `toml:"mac"`
	Policy *string `toml:"policy"`

	Addresses []string `toml:"addresses"`
}

type fileTest struct {
	Name   *string `toml:"name"`
	VM     *string `toml:"vm"`
	Device *string `toml:"device"`
	Policy *string `toml:"policy"`

	Can          []string `toml:"can"`
	Cannot       []string `toml:"cannot"`
	ReachedBy    []string `toml:"reached_by"`
	NotReachedBy []string `toml:"not_reached_by"`
}

// decode reads the text of the files; what is wrong with it goes to the checker, or, when
// some are no TOML at all, is the error.
func decode(check checker) (*file, error) {
	var f file
	var wrong []Mistake
	for i, source := range check.sources {
		var tree map[string]any
		if err := toml.Unmarshal(source.text, &tree); err != nil {
			wrong = append(wrong, noTOML(source, err))
			continue
		}
		check.current = i
		check.fill("", "", tree, reflect.ValueOf(&f).Elem())
	}
	return &f, mistaken(wrong)
}

// noTOML tells why a file is no TOML.
func noTOML(s *source, err error) Mistake {
	var bad *toml.DecodeError
	if !errors.As(err, &bad) {
		return mistakeAt(s.file, s.text, -1, err.Error())
	}
	line, column := bad.Position() // in bytes
	offset := 0
	for ; line > 1; line-- {
		offset += 1 + bytes.IndexByte(s.text[offset:], '\n')
	}
	return mistakeAt(s.file, s.text, offset+column-1, strings.TrimPrefix(bad.Error(), "toml: "))
}
