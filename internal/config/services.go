package config

import (
	"fmt"
	"strings"

	"macvtap-filter/internal/near"
)

// portNames are the names of ports that people use most, for the protocols that have them
// so, as IANA has registered them (RFC 6335, "Service Name and Transport Protocol Port Number
// Registry"). It is our own table since the host's /etc/services is another on every host: a
// configuration means the same everywhere.
var portNames = [...]struct {
	name   string
	port   uint16
	protos string
}{
	{"ftp-data", 20, "tcp"}, {"ftp", 21, "tcp"}, {"ssh", 22, "tcp"}, {"telnet", 23, "tcp"}, {"smtp", 25, "tcp"},
	{"whois", 43, "tcp"}, {"tacacs", 49, "tcp"}, {"domain", 53, "tcp udp"}, {"bootps", 67, "udp"}, {"bootpc", 68, "udp"},
	{"tftp", 69, "udp"}, {"http", 80, "tcp udp"}, {"kerberos", 88, "tcp udp"}, {"pop3", 110, "tcp"}, {"sunrpc", 111, "tcp udp"},
	{"ntp", 123, "udp"}, {"epmap", 135, "tcp udp"}, {"netbios-ns", 137, "udp"}, {"netbios-dgm", 138, "udp"}, {"netbios-ssn", 139, "tcp"},
	{"imap", 143, "tcp"}, {"snmp", 161, "tcp udp"}, {"snmptrap", 162, "tcp udp"}, {"bgp", 179, "tcp"}, {"ptp-event", 319, "udp"},
	{"ptp-general", 320, "udp"}, {"ldap", 389, "tcp udp"}, {"https", 443, "tcp udp"}, {"microsoft-ds", 445, "tcp"}, {"kpasswd", 464, "tcp udp"},
	{"submissions", 465, "tcp"}, {"isakmp", 500, "udp"}, {"syslog", 514, "udp"}, {"printer", 515, "tcp"}, {"dhcpv6-client", 546, "udp"},
	{"dhcpv6-server", 547, "udp"}, {"rtsp", 554, "tcp udp"}, {"submission", 587, "tcp"}, {"ipp", 631, "tcp"}, {"ldaps", 636, "tcp"},
	{"domain-s", 853, "tcp udp"}, {"rsync", 873, "tcp"}, {"imaps", 993, "tcp"}, {"pop3s", 995, "tcp"}, {"socks", 1080, "tcp"},
	{"openvpn", 1194, "tcp udp"}, {"ms-sql-s", 1433, "tcp"}, {"l2tp", 1701, "udp"}, {"radius", 1812, "tcp udp"}, {"radius-acct", 1813, "tcp udp"},
	{"mqtt", 1883, "tcp"}, {"ssdp", 1900, "udp"}, {"nfs", 2049, "tcp udp"}, {"docker-s", 2376, "tcp"}, {"etcd-client", 2379, "tcp"},
	{"iscsi-target", 3260, "tcp"}, {"mysql", 3306, "tcp"}, {"ms-wbt-server", 3389, "tcp udp"}, {"stun", 3478, "tcp udp"}, {"turn", 3478, "tcp udp"},
	{"nut", 3493, "tcp"}, {"svn", 3690, "tcp"}, {"ntske", 4460, "tcp"}, {"ipsec-nat-t", 4500, "udp"}, {"ipfix", 4739, "tcp udp sctp"},
	{"vxlan", 4789, "udp"}, {"sip", 5060, "tcp udp sctp"}, {"sips", 5061, "tcp udp sctp"}, {"xmpp-client", 5222, "tcp"}, {"xmpp-server", 5269, "tcp"},
	{"stuns", 5349, "tcp udp"}, {"turns", 5349, "tcp udp"}, {"mdns", 5353, "udp"}, {"llmnr", 5355, "tcp udp"}, {"postgresql", 5432, "tcp"},
	{"amqps", 5671, "tcp"}, {"amqp", 5672, "tcp sctp"}, {"coap", 5683, "udp"}, {"coaps", 5684, "udp"}, {"rfb", 5900, "tcp"},
	{"wsman", 5985, "tcp"}, {"wsmans", 5986, "tcp"}, {"redis", 6379, "tcp"}, {"syslog-tls", 6514, "tcp"}, {"ircs-u", 6697, "tcp"},
	{"http-alt", 8080, "tcp"}, {"secure-mqtt", 8883, "tcp"}, {"git", 9418, "tcp"}, {"zabbix-agent", 10050, "tcp"}, {"memcache", 11211, "tcp"},
}

// namedService reads a service by its port's name: "tcp/https".
func namedService(proto byte, s string) (Service, error) {
	var known []string
	for _, p := range portNames {
		for name := range strings.FieldsSeq(p.protos) {
			known = append(known, name+"/"+p.name)
			if known[len(known)-1] == s {
				return Service{Proto: proto, From: p.port, To: p.port, name: s}, nil
			}
		}
	}
	return Service{}, fmt.Errorf("%q: no port of that protocol has that name: write its number%s", s, meant(near.Name(s, known)))
}
