#!/usr/bin/env bash
# google/nftables: GetRules leaves out a rule that stood before, during and after the call, and the error is nil, where
# somebody else deletes a rule of that chain meanwhile. The kernel hands a long list out in pieces, finds its place in the
# next piece by counting, and says so when rules have changed: NLM_F_DUMP_INTR in the messages. nft begins anew then.
# mdlayher/netlink has a name for the flag and looks at it nowhere, and so google/nftables never hears of it.
# vishvananda/netlink, which lists links and routes, makes an error of it (ErrDumpInterrupted).
#
# Why it matters: a program that compares what stands with what should finds a rule missing that is there, and adds it
# a second time. Tests on a host where nobody else changes rules never show it.
#
# Source: Linux net/netfilter/nf_tables_api.c (__nf_tables_dump_rules, nl_dump_check_consistent),
# Documentation/userspace-api/netlink/intro.rst ("Dump consistency"); mdlayher/netlink's message.go (DumpInterrupted).
# Needs root, a kernel with nf_tables, go and its module proxy.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

const rules = 3000

// main lists a chain of 3,000 rules again and again, while another connection inserts one more rule at its head and
// takes it out again, until a list lacks one of the 3,000.
func main() {
	c := connect()
	table := c.AddTable(&nftables.Table{Name: "t", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{Name: "c", Table: table})
	rule := &nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}}
	for n := range rules {
		c.AddRule(rule)
		if n%100 == 99 {
			must(c.Flush())
		}
	}
	standing := list(c, table, chain)
	if len(standing) != rules {
		log.Fatalf("%d rules in a chain that nobody changes", len(standing))
	}
	go func() {
		other := connect()
		for {
			other.InsertRule(rule)
			must(other.Flush())
			must(other.DelRule(list(other, table, chain)[0]))
			must(other.Flush())
		}
	}()
	fmt.Println("expected: an error, or all of the 3,000 rules that stand all the time")
	for end, calls := time.Now().Add(3*time.Minute), 1; time.Now().Before(end); calls++ {
		there := map[uint64]bool{}
		for _, r := range list(c, table, chain) {
			there[r.Handle] = true
		}
		for _, r := range standing {
			if !there[r.Handle] {
				fmt.Printf("seen:     no error, and the rule with handle %d is not in the list (of call %d)\n", r.Handle, calls)
				return
			}
		}
	}
	fmt.Println("seen:     every list had all of them")
	os.Exit(1)
}

func connect() *nftables.Conn {
	c, err := nftables.New()
	must(err)
	return c
}

func list(c *nftables.Conn, table *nftables.Table, chain *nftables.Chain) []*nftables.Rule {
	all, err := c.GetRules(table, chain)
	must(err)
	return all
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
  (
    cd "$dir"
    go mod init finding 2>/dev/null
    timeout 120 go get github.com/google/nftables@v0.3.0 github.com/mdlayher/netlink@v1.11.2 2>/dev/null
    go list -m github.com/google/nftables github.com/mdlayher/netlink
    timeout 120 go build -o list .
  )
  timeout 240 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r), $(go version)"
"$2/list"
