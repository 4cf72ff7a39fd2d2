// Package servers holds the tests of learned addresses with the DHCP servers, router daemons and DHCP clients that
// people run. A server is the gateway's, on the LAN; the guest is a network namespace whose one NIC is joined to the
// VM's side of a macvtap device, with a real client in it. They stand behind the build tag e2e and need root and the
// packages that .ci/packages names; `make e2e` runs them.
package servers
