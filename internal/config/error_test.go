package config

import (
	"fmt"
	"strings"
	"testing"
)

// Each file's last line but blank ones is at fault, unless line says another; the
// message is all that follows "config.toml:LINE:COLUMN: ".
func TestParseErrors(t *testing.T) {
	const parents = "parents = [\"a\"]\n"
	tests := []struct {
		about, text string
		line        int // 0: the last; -1: none, the file as a whole
		want        string
		not         string // what it does not say
	}{
		// No TOML.
		{about: "no TOML", text: parents + "\n# …\nhello", want: "expected"},
		{about: "open string", text: parents + `reconnect = "keep`, want: "string"},
		{about: "open list", text: `parents = ["a"`, want: "array"},
		{about: "key twice", text: parents + parents, want: "already"},
		{about: "section twice", text: parents + "[policy.a]\n[policy.b]\n[policy.a]", want: "already"},
		{about: "NUL", text: parents + "a\x00 = 1", want: ""},
		{about: "no UTF-8", text: parents + "reconnect = \"\xff\"", want: "invalid UTF-8"},

		// Unknown keys.
		{about: "misspelt", text: parents + "reconect = \"keep\"", want: `unknown key reconect: did you mean "reconnect"?`},
		{about: "misspelt in a policy", text: parents + "[policy.x]\nalow = []", want: `unknown key policy.x.alow: did you mean "allow"?`},
		{about: "misspelt in a VM", text: parents + "[[vm]]\nname=\"a\"\n[[vm]]\nuid = \"b\"", want: `unknown key vm.uid: did you mean "uuid"?`},
		{about: "unlike any", text: parents + "colour = 1", want: `unknown key colour`},
		{about: "capital letters", text: "Parents = [\"a\"]", want: `unknown key Parents: did you mean "parents"?`},
		{about: "twice, once in capitals", text: parents + "[policy.default]\ndeny = [\"10.0.0.0/8\"]\nDeny = []", want: `unknown key policy.default.Deny`},
		{about: "unknown section", text: parents + "[policies.x]\ndeny = []", line: 2, want: `unknown key policies`},
		{about: "quoted", text: parents + `"a\nb" = 1`, want: `unknown key "a\nb"`},
		{about: "dotted", text: parents + `policy.x.y = 1`, want: `unknown key policy.x.y`},
		{about: "inline", text: parents + "vm = [{name = \"a\"},\n{nam = \"b\"}]", want: `unknown key vm.nam: did you mean "name"?`},
		{about: "the first of two", text: parents + "colour = 1\nshape = 2", line: 2, want: "unknown key colour"},

		// Wrong types.
		{about: "parents a string", text: `parents = "a"`, want: "parents: want a list of strings"},
		{about: "parents a number", text: `parents = 1`, want: "parents: want a list of strings"},
		{about: "number among parents", text: "parents = [\n\"a\",\n1]", want: "parents: want a list of strings"},
		{about: "list among parents", text: "parents = [\"a\",\n[\"b\"]]", want: "parents: want a list of strings"},
		{about: "deny a string", text: parents + "[policy.x]\ndeny = \"onlink\"", want: "policy.x.deny: want a list of strings"},
		{about: "number in allow", text: parents + "[policy.x]\nallow = [\n  1]", want: "policy.x.allow: want a list of strings"},
		{about: "reconnect a boolean", text: parents + "reconnect = true", want: "reconnect: want a string"},
		{about: "reconnect a date", text: parents + "reconnect = 2024-01-01", want: "reconnect: want a string"},
		{about: "policy a string", text: parents + "policy = \"x\"", want: "policy: want sections [policy.NAME]"},
		{about: "one policy a list", text: parents + "[policy]\nx = []", want: "policy.x: want a section [policy.x]"},
		{about: "policies a list", text: parents + "[[policy]]", want: "policy: want sections [policy.NAME]"},
		{about: "one [vm]", text: parents + "[vm]\nname = \"a\"", line: 2, want: "vm: want sections [[vm]]"},
		{about: "VM a string", text: parents + "vm = [\n\"a\"]", want: "vm: want sections [[vm]]"},
		{about: "name a number", text: parents + "[[vm]]\nname = 1", want: "vm.name: want a string"},

		// The guard.
		{about: "guard a string", text: parents + `guard = "true"`, want: "guard: want true or false"},
		{about: "one prefix", text: parents + `guard_prefixes = "macvtap"`, want: "guard_prefixes: want a list of strings"},
		{about: "no prefixes", text: parents + "guard = true\nguard_prefixes = []", want: "guard_prefixes: no prefixes"},
		{about: "prefix of every name", text: parents + "guard_prefixes = [\"web\",\n\"\"]", want: `guard_prefixes: "" is not what`},
		{about: "prefix as a glob", text: parents + "guard_prefixes = [\n\"web*\"]", want: `guard_prefixes: "web*" is not what`},
		{about: "prefix of 16 bytes", text: parents + `guard_prefixes = ["macvtapmacvtapma"]`, want: "is not what"},
		{about: "prefix in an earlier one", text: parents + "guard_prefixes = [\"web\",\n\"web-\"]", want: `guard_prefixes: every name that begins with "web-" begins with "web": leave one out`},
		{about: "prefix in a later one", text: parents + "guard_prefixes = [\"web-\",\n\"web\"]", line: 2, want: `guard_prefixes: every name that begins with "web-" begins with "web"`},
		{about: "prefix twice", text: parents + "guard_prefixes = [\"web\",\n\"web\"]", want: `begins with "web" begins with "web"`},
		{about: "listen to all", text: parents + `listen = "0.0.0.0:9477"`, want: `listen = "0.0.0.0:9477": others could read the figures there: want a loopback address`},
		{about: "listen to all, IPv6", text: parents + `listen = "[::]:9477"`, want: `listen = "[::]:9477": others could`},
		{about: "listen to the LAN", text: parents + `listen = "192.168.2.2:9477"`, want: `listen = "192.168.2.2:9477": others could`},
		{about: "listen to a name", text: parents + `listen = "localhost:9477"`, want: `listen = "localhost:9477": want a loopback address with a port`},
		{about: "listen to a port", text: parents + `listen = ":9477"`, want: `listen = ":9477": want a loopback address with a port`},
		{about: "listen to no port", text: parents + `listen = "127.0.0.1"`, want: `listen = "127.0.0.1": want a loopback address with a port`},
		{about: "listen to port 0", text: parents + `listen = "127.0.0.1:0"`, want: `listen = "127.0.0.1:0": port 0`},
		{about: "listen somewhere here", text: parents + `listen = "unix:run/x"`, want: `listen = "unix:run/x": want an absolute path`},
		{about: "listen far away", text: parents + `listen = "unix:/` + strings.Repeat("x", 107) + `"`, want: `at most 107 bytes, this one has 108`},
		{about: "listen a number", text: parents + `listen = 9477`, want: "listen: want a string"},
		{about: "other others", text: parents + `guard_others = "accept"`, want: `guard_others = "accept": want "pass" or "drop"`},

		// parents and reconnect.
		{about: "empty file", text: "", line: -1, want: "no parents"},
		{about: "no parents", text: "\nparents = []", want: "no parents"},
		{about: "empty parent", text: `parents = ["a", ""]`, want: `parents: "" is no name or glob`},
		{about: "blank behind a parent", text: "parents = [\"a\",\n\"eth0 \"]", want: `parents: "eth0 " is no name or glob`},
		{about: "parent with a slash", text: "parents = [\"a\",\n\"/dev/eth0\"]", want: `parents: "/dev/eth0" is no name or glob`},
		{about: "parent of blanks", text: `parents = ["\t"]`, want: `parents: "\t" is no name or glob`},
		{about: "parent with a no-break space", text: `parents = ["eth0\u00a0"]`, want: "is no name or glob"},
		{about: "parent with a NUL", text: `parents = ["eth0\u0000"]`, want: `parents: "eth0\x00" is no name or glob`},
		{about: "parent a folder", text: "parents = [\"a\",\n\"..\"]", want: `parents: ".." is the name of a folder, and of no NIC`},
		{about: "parent of 128 bytes", text: `parents = ["` + strings.Repeat("e", 128) + `"]`, want: "is longer than any NIC's name, which has at most 127 bytes"},
		{about: "glob of 128 bytes", text: `parents = ["*[a-z]` + strings.Repeat("e", 126) + `?*"]`, want: "is longer than any NIC's name"},
		{about: "bad glob", text: "parents = [\"a\",\n\"b[\"]", want: `parents: "b[" is no name or glob`},
		{about: "reconnect", text: parents + `reconnect = "Kill"`, want: `reconnect = "Kill": want "keep" or "kill"`},

		// Policies.
		{about: "key of no policy", text: parents + "[policy]\ndeny = []", want: "policy.deny: is in no section: want it below [policy.NAME], as [policy.default]"},
		{about: "gateway's MAC address of everybody", text: parents + "[policy.x]\nisolate = true\ngateway_macs = [\"ff:ff:ff:ff:ff:ff\"]", want: `gateway_macs: "ff:ff:ff:ff:ff:ff" is no MAC address that a gateway can have`},
		{about: "gateway's MAC address of a group", text: parents + "[policy.x]\nisolate = true\ngateway_macs = [\"02:00:00:00:00:01\",\n\"01:00:5e:00:00:01\"]", want: "that a gateway can have"},
		{about: "gateway's MAC address of nobody", text: parents + "[policy.x]\nisolate = true\ngateway_macs = [\"00:00:00:00:00:00\"]", want: "that a gateway can have"},
		{about: "policy's name", text: parents + "[policy.\"a b\"]", want: `policy "a b": want a name`},
		{about: "policy's empty name", text: parents + "[policy.\"\"]", want: `policy "": want a name`},
		{about: "policy's long name", text: parents + "[policy." + strings.Repeat("a", 33) + "]", want: "at most 32"},
		{about: "policy's name with a dot", text: parents + "[policy.\"a.b\"]\n", want: `policy "a.b": want a name`},
		{about: "no address", text: parents + "[policy.x]\nallow = [\"gateway\",\n\"gatway\"]", want: `"gatway" is no address, and no word`},
		{about: "misspelt word", text: parents + "[policy.x]\nallow = [\"gatway udp/53\"]", want: `"gatway" is no address, and no word (gateway, router, dns, broadcast, onlink, private): did you mean "gateway"?`},
		{about: "short word misspelt", text: parents + "[policy.x]\nallow = [\"dnss\"]", want: `did you mean "dns"?`},
		{about: "word in capitals", text: parents + "[policy.x]\nallow = [\"BRODCAST\"]", want: `did you mean "broadcast"?`},
		{about: "word with a hyphen", text: parents + "[policy.x]\ndeny = [\"on-link\"]", want: `"on-link" is no address, and no word (gateway, router, dns, broadcast, onlink, private): did you mean "onlink"?`},
		{about: "word and more", text: parents + "[policy.x]\nallow = [\"dns-sever\"]", want: `did you mean "dns"?`},
		{about: "word of several", text: parents + "[policy.x]\nallow = [\"default-gateway\"]", want: `did you mean "gateway"?`},
		{about: "host's name", text: parents + "[policy.x]\nallow = [\"db.example.net\"]", want: `"db.example.net" is no address, and no word (gateway, router, dns, broadcast, onlink, private)`, not: "did you mean"},
		{about: "range of a host's name", text: parents + "[policy.x]\nallow = [\"10.0.0.1-host\"]", want: `"10.0.0.1-host": "host" is no address`},
		{about: "a denied router", text: parents + "[policy.x]\ndeny = [\"onlink\",\n\"router\"]", want: `deny: "router" opens part of what the gateway is, and stands in allow alone; to deny the gateway, write "gateway"`},
		{about: "empty entry", text: parents + "[policy.x]\ndeny = [\" \"]", want: `" ": want an address`},
		{about: "host bits", text: parents + "[policy.x]\ndeny = [\"192.168.2.5/16\"]", want: `"192.168.2.5/16" has host bits: write 192.168.0.0/16, or 192.168.2.5 for the one address`},
		{about: "bad prefix", text: parents + "[policy.x]\ndeny = [\"192.168.0.0/33\"]", want: `"192.168.0.0/33" is no prefix`},
		{about: "prefix of two", text: parents + "[policy.x]\ndeny = [\"192.168.0.0/16/8\"]", want: "is no prefix"},
		{about: "IPv4 in IPv6", text: parents + "[policy.x]\ndeny = [\"::ffff:192.168.0.0/112\"]", want: "write IPv4 addresses as such"},
		{about: "IPv4 in IPv6, one address", text: parents + "[policy.x]\ndeny = [\"::ffff:192.168.0.1\"]", want: "write IPv4 addresses as such"},
		{about: "zone", text: parents + "[policy.x]\nallow = [\"fe80::1%eth0\"]", want: "leave out the zone"},
		{about: "range backwards", text: parents + "[policy.x]\nallow = [\"10.0.0.2-10.0.0.1\"]", want: "the range ends before it begins"},
		{about: "range of both families", text: parents + "[policy.x]\nallow = [\"10.0.0.2-::1\"]", want: "one end is IPv4, the other IPv6"},
		{about: "open range", text: parents + "[policy.x]\nallow = [\"10.0.0.2-\"]", want: `"" is no address`},
		{about: "leading zeroes", text: parents + "[policy.x]\ndeny = [\"192.168.002.1\"]", want: "is no address"},
		{about: "port of what is denied", text: parents + "[policy.x]\ndeny = [\n\"10.0.0.1\",\n\"10.0.0.2 tcp/80\"]", want: `deny: "10.0.0.2 tcp/80": ports narrow only allow entries`},
		{about: "unknown protocol", text: parents + "[policy.x]\nallow = [\"dns icmp/8\"]", want: `"icmp/8" is no service`},
		{about: "no port", text: parents + "[policy.x]\nallow = [\"dns tcp\"]", want: `"tcp" is no service`},
		{about: "port 0", text: parents + "[policy.x]\nallow = [\"dns tcp/0\"]", want: `"tcp/0": want a port from 1 to 65535`},
		{about: "port 65536", text: parents + "[policy.x]\nallow = [\"dns tcp/65536\"]", want: "want a port"},
		{about: "ports backwards", text: parents + "[policy.x]\nallow = [\"dns tcp/9-8\"]", want: "want a port"},
		{about: "negative port", text: parents + "[policy.x]\nallow = [\"dns tcp/-8\"]", want: "want a port"},
		{about: "comma", text: parents + "[policy.x]\nallow = [\"dns tcp/80,443\"]", want: "want a port"},

		{about: "no such port", text: parents + "[policy.x]\nserve = [\"tcp/htps\"]", want: `serve: "tcp/htps": no port of that protocol has that name: write its number: did you mean "tcp/https"?`},

		// Policies that build on others, and groups.
		{about: "extends nobody", text: parents + "[policy.web]\n[policy.x]\nextends = \"wep\"", want: `policy "x": extends = "wep": nobody defines that policy: did you mean "web"?`, not: "more: "},
		{about: "extends nobody but itself, misspelt", text: parents + "[policy.web]\nextends = \"wep\"", want: `nobody defines that policy`, not: "did you mean"},
		{about: "extends itself", text: parents + "[policy.x]\nextends = \"x\"", want: `policy "x": extends = "x": policies build on each other in a circle: x → x`, not: "more: "},
		{about: "a circle of policies", text: parents + "[policy.a]\nextends = \"b\"\n[policy.b]\nextends = \"c\"\n[policy.x]\nextends = \"a\"\n[policy.c]\nextends = \"a\"", want: "circle: a → b → c → a", not: "more: "},
		{about: "default extends", text: parents + "[policy.x]\n[policy.default]\nextends = \"x\"", want: `policy "default": extends = "x": this policy is what the others build on`, not: "more: "},
		{about: "inherit misspelt", text: parents + "[policy.x]\nallow = [\"inheritt\"]", want: `did you mean "inherit"?`, not: "more: "},
		{about: "inherit with a service", text: parents + "[policy.x]\nallow = [\"inherit tcp/22\"]", want: `allow: "inherit tcp/22": "inherit" stands alone`, not: "more: "},
		{about: "an inherited mistake is told where it is", text: parents + "[policy.x]\n[policy.default]\nallow = [\"x\"]", want: `allow: "x" is no address`, not: "more: "},
		{about: "a group's service denied", text: parents + "[group.a]\nmembers = [\"10.0.0.1\"]\n[policy.x]\ndeny = [\"@a tcp/22\"]", want: `deny: "@a tcp/22": ports narrow only allow entries`, not: "more: "},
		{about: "a group's service misspelt", text: parents + "[group.a]\nmembers = [\"10.0.0.1\", \"10.0.0.2\"]\n[policy.x]\nallow = [\"@a tcp/htps\"]", want: `allow: "@a tcp/htps": "tcp/htps": no port of that protocol has that name: write its number: did you mean "tcp/https"?`, not: "more: "},
		{about: "unknown group", text: parents + "[group.admins]\nmembers = [\"10.0.0.1\"]\n[policy.x]\nallow = [\"@admin tcp/22\"]", want: `allow: "@admin": nobody defines that group, by a section [group.admin]: did you mean "@admins"?`, not: "more: "},
		{about: "unknown group in a group", text: parents + "[group.admins]\nmembers = [\"@admin\"]", want: `group "admins": members: "@admin": nobody defines that group`, not: "more: "},
		{about: "unknown group of a VM", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"@a\"]", want: `addresses: "@a": nobody defines that group`, not: "more: "},
		{about: "a group holds itself", text: parents + "[group.a]\nmembers = [\"@b\"]\n[group.b]\nmembers = [\"@c\"]\n[group.c]\nmembers = [\"10.0.0.1\",\n\"@a\"]", want: `group "c": members: "@a": a group holds itself: @a → @b → @c → @a`, not: "more: "},
		{about: "a member's service", text: parents + "[group.a]\nmembers = [\"10.0.0.1 tcp/22\"]", want: `group "a": members: "10.0.0.1 tcp/22": a member has no services: write them where the group is named, as in "@a tcp/22"`, not: "more: "},
		{about: "a member that is none", text: parents + "[group.a]\nmembers = [\"gatewy\"]", want: `group "a": members: "gatewy" is no address, and no word (gateway, router, dns, broadcast, onlink, private): did you mean "gateway"?`, not: "more: "},
		{about: "a denied group with the router", text: parents + "[group.a]\nmembers = [\"10.0.0.1\", \"router\"]\n[policy.x]\ndeny = [\"@a\"]", want: `deny: "@a: router" opens part of what the gateway is`, not: "more: "},
		{about: "inherit in a group", text: parents + "[group.a]\nmembers = [\"inherit\"]", want: `"inherit" is no address`, not: "did you mean"},
		{about: "no members", text: parents + "[group.a]\nmembers = []", want: `group "a": no members`, not: "more: "},
		{about: "members a string", text: parents + "[group.a]\nmembers = \"10.0.0.1\"\n", want: `group.a.members: want a list of strings`, not: "more: "},
		{about: "a wrong member is told once", text: parents + "[policy.x]\nallow = [\"@a\"]\n[group.a]\nmembers = [\"x\"]", want: `group "a": members: "x" is no address`, not: "more: "},
		{about: "a group's bad name", text: parents + "[group.\"a b\"]\nmembers = [\"10.0.0.1\"]", line: 2, want: `group "a b": want a name`, not: "more: "},
		{about: "a group in no section", text: parents + "[group]\nmembers = [\"10.0.0.1\"]", want: `group.members: is in no section: want it below [group.NAME], as [group.admins]`, not: "more: "},
		{about: "members in a policy", text: parents + "[policy.x]\nmembers = [\"10.0.0.1\"]", want: `unknown key policy.x.members: it belongs below [group.NAME], as [group.admins]`, not: "more: "},
		{about: "a VM's range", text: parents + "[group.a]\nmembers = [\"10.0.0.1-10.0.0.9\"]\n[[vm]]\nname = \"a\"\naddresses = [\"@a\"]", want: `addresses: "@a": "10.0.0.1-10.0.0.9" is no address: want an address, a prefix`, not: "more: "},
		{about: "a VM's word", text: parents + "[group.a]\nmembers = [\"gateway\"]\n[[vm]]\nname = \"a\"\naddresses = [\"@a\"]", want: `addresses: "@a": "gateway" is no address: want an address, a prefix`, not: "more: "},

		// VMs.
		{about: "which VMs", text: parents + "[[vm]]\npolicy = \"default\"", line: 2, want: "want one or more of name, uuid, mac, parent and interface"},
		{about: "a VM's MAC address", text: parents + "[[vm]]\nmac = \"52:54:00\"", line: 3, want: `mac = "52:54:00" is no MAC address`},
		{about: "a group's MAC address", text: parents + "[[vm]]\nmac = \"01:00:5e:00:00:01\"", line: 3, want: `no MAC address that an interface can have`},
		{about: "a NIC of a VM's", text: parents + "[[vm]]\nparent = \"a b\"", line: 3, want: `parent = "a b" is no name or glob`},
		{about: "which devices", text: parents + "[[device]]\npolicy = \"default\"", line: 2, want: "want name, mac or both"},
		{about: "a device's name is short", text: parents + "[[device]]\nname = \"mac0123456789abc?\"", line: 3, want: "is no device's name of at most 15 bytes, nor a glob"},
		{about: "a device's MAC address", text: parents + "[[device]]\nmac = \"x\"", line: 3, want: `mac = "x" is no MAC address`},
		{about: "a device's policy", text: parents + "[policy.dmz]\n[[device]]\nname = \"mac*\"\npolicy = \"dmy\"", line: 5, want: `[[device]]: nobody defines the policy "dmy"`},
		{about: "a device's addresses", text: parents + "[[device]]\nname = \"mac*\"\naddresses = [\"x\"]", line: 4, want: `[[device]]: addresses: "x" is no`},
		{about: "places begin with 1", text: parents + "[[vm]]\nname = \"a\"\ninterface = 0", line: 4, want: "the first of a VM's interfaces is 1"},
		{about: "VM's empty name", text: parents + "[[vm]]\nname = \"\"", want: `name = "" is no name or glob`},
		{about: "VM's bad glob", text: parents + "[[vm]]\nname = \"a[\"", want: `name = "a[" is no name or glob`},
		{about: "VM's bad glob after one that fails to match", text: parents + "[[vm]]\nname = \"zzz[\"", want: "no name or glob"},
		{about: "short uuid", text: parents + "[[vm]]\nuuid = \"6695eb01\"", want: `uuid = "6695eb01" is no UUID`},
		{about: "no hexadecimal uuid", text: parents + "[[vm]]\nuuid = \"6695eb01-f6a4-8304-79aa-97f2502e193z\"", want: "is no UUID"},
		{about: "uuid without hyphens", text: parents + "[[vm]]\nuuid = \"6695eb01f6a4830479aa97f2502e193f0000\"", want: "is no UUID"},
		{about: "VM's address a word", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"gateway\"]", want: `addresses: "gateway" is no address: want an address, a prefix, "dhcp" or "slaac"`},
		{about: "VM's word misspelt", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"dhcpp\"]", want: `did you mean "dhcp"?`},
		{about: "EtherType misspelt", text: parents + "[policy.x]\nethertypes = [\"lldpp\"]", want: `did you mean "lldp"?`},
		{about: "VM's address with host bits", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"192.168.2.30/24\"]", want: `"192.168.2.30/24" has host bits: write 192.168.2.0/24, or 192.168.2.30 for the one address`},
		{about: "all addresses a VM's", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"dhcp\",\n\"::/0\"]", want: `"::/0" holds no addresses that a VM can have`},
		{about: "a VM's groups", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"ff02::/16\"]", want: `"ff02::/16" holds no addresses that a VM can have`},
		{about: "how a VM's addresses are learned", text: parents + "[policy.a]\nlearn = \"arp\"", want: `learn = "arp": want "off", "dhcp" or "first"`},
		{about: "VM's address a broadcast address", text: parents + "[[vm]]\nname = \"a\"\naddresses = [\"255.255.255.255\"]", want: `"255.255.255.255" is no address that a VM can have`},
		{about: "empty policy", text: parents + "[[vm]]\nname = \"a\"\npolicy = \"\"", want: `policy = "": want a policy's name`},
		{about: "undefined policy", text: parents + "[[vm]]\nname = \"a\"\n[[vm]]\nname = \"b\"\npolicy = \"dmz\"", want: `nobody defines the policy "dmz"`},
		{about: "the first of two", text: parents + "[[vm]]\nname = \"\"\n\n[policy.x]\nallow = [\"x\"]", line: 3, want: "name"},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			_, err := Parse("config.toml", []byte(test.text))
			if err == nil {
				t.Fatalf("no error, want %q", test.want)
			}
			if test.line == 0 {
				test.line = 1 + strings.Count(strings.TrimRight(test.text, "\n"), "\n")
			}
			begin := fmt.Sprintf("config.toml:%d:", test.line)
			if test.line < 0 {
				begin = "config.toml: "
			}
			message, ok := strings.CutPrefix(err.Error(), begin)
			if test.line > 0 {
				_, message, _ = strings.Cut(message, ": ") // behind the column
			}
			if !ok || !strings.Contains(message, test.want) || test.not != "" && strings.Contains(message, test.not) {
				t.Errorf("error %q\nwant  %q and then %q", err, begin, test.want)
			}
			for _, ours := range []string{"config.file", "struct", "\n"} {
				if strings.Contains(message, ours) {
					t.Errorf("the message %q has %q, which is not the reader's", message, ours)
				}
			}
		})
	}
}
