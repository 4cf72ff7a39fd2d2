// Package kernel programs rulesets into the kernel's nftables over netlink and
// finds there again what it programmed. It is the only package that changes
// anything in the kernel.
//
// google/nftables turns tables, sets, chains and rules into netlink messages;
// the transaction itself is sent from here (transaction.go), because the
// library has no table comment, which says whose a table is, cannot delete a
// table by its handle, and does not tell which object the kernel refused.
package kernel
