package drops

import (
	"net"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/why"
)

// CauseOf gives the cause that a frame has which was dropped under a counter: the peer's address, or, without one,
// its MAC address, as far as the kernel tells it; and the service. Of an answer that is the port that
// it is from, since the other one is another's each time.
func CauseOf(v why.Verdict, of Counter) Cause {
	c := Cause{Counter: of, Service: frame.Kind(v.Frame)}
	if peer := v.Peer(); peer.IsValid() {
		c.Peer = peer.String()
	} else if mac := net.HardwareAddr(v.Frame[min(6, len(v.Frame)):min(12, len(v.Frame))]); !v.Out && len(mac) == 6 {
		c.Peer = mac.String()
	}
	if proto, from, to, ok := frame.Ports(v.Frame); ok {
		answer := from < ephemeral && to >= ephemeral
		port := to
		if answer {
			port = from
		}
		c.Service = config.Service{Proto: proto, From: port, To: port}.String()
		if answer {
			c.Service = "from " + c.Service
		}
	}
	return c
}

// ephemeral is the first port that Linux chooses by itself (net.ipv4.ip_local_port_range).
const ephemeral = 32768
