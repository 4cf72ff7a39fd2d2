// Package ruleset is the one model of what the filter programs: nftables
// tables of the family netdev as plain data. The same value is printed as nft
// text (String), as nft's JSON (JSON) and programmed into the kernel (package
// kernel), so that what was reviewed is what runs. It imports neither netlink
// nor nftables and needs no privilege.
//
// Names follow nft(8): a table holds counters, sets and chains; a chain holds
// rules; a rule holds matches and a verdict.
package ruleset
