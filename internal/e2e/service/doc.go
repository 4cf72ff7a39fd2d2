// Package service holds the tests of the unit file macvtap-filter-watch.service: a real systemd runs it as process 1
// of a container, in the hypervisor of a lab's network, with journald and libvirtd as its only neighbours. They stand
// behind the build tag e2e, need root and the packages systemd and libvirt-daemon-system; `make e2e` runs them.
package service
