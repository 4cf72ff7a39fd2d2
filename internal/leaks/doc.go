// Package leaks counts the frames that pass a VM's device at moments at which none
// should: while VMs start and stop, NICs are plugged in, others flush nftables,
// processes are killed. A sender stands for a VM and an attacker on the LAN that
// never pause, and all that happens is real: the program, its hook calls, nft,
// network devices.
//
// What it measures is the table of internal/doc/leaks.md:
//
//	go test ./internal/leaks -run TestLeaks -update
package leaks
