#!/usr/bin/env bash
# A type of Go that reads itself from text (encoding.TextUnmarshaler) may stand for a number in TOML, and what text it gets
# depends on the library: BurntSushi/toml reads the number first and prints it with six digits behind the point, so that
# shopspring's decimal.Decimal is 0 for 0.00000025 and math/big's Float is 3.141593 for 3.14159265358979; no error.
# pelletier/go-toml gives what is written, so that 1_000 and 0x10, integers to TOML, are errors of Decimal, and 1.10 stays
# apart from 1.1. A number in quotes is the same to both.
#
# Why it matters: types with a text of their own are taken for exactness (prices, rates, versions, big numbers). The same
# struct and file have other values by a change of the library, or none of them.
#
# Source: TOML 1.0.0, "Integer", "Float" (64-bit binary values "should be accepted and handled without loss"); BurntSushi/toml's
# decode.go (unifyText), go-toml's unmarshaler.go (tryTextUnmarshaler).
# Needs go and its module proxy.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"math/big"
	"os"

	burntsushi "github.com/BurntSushi/toml"
	pelletier "github.com/pelletier/go-toml/v2"
	"github.com/shopspring/decimal"
)

// text keeps what it is given.
type text string

func (t *text) UnmarshalText(given []byte) error {
	*t = text(given)
	return nil
}

// read gives the value of the line "v = ..." by a library, or "error".
func read[T any](unmarshal func([]byte, any) error, line string, print func(T) string) string {
	var file struct {
		V T `toml:"v"`
	}
	if err := unmarshal([]byte("v = "+line), &file); err != nil {
		return "error"
	}
	return print(file.V)
}

// both gives the value by BurntSushi's library and by pelletier's.
func both[T any](line string, print func(T) string) string {
	return read(burntsushi.Unmarshal, line, print) + " " + read(pelletier.Unmarshal, line, print)
}

func main() {
	exact := func(d decimal.Decimal) string { return d.String() }
	float := func(f big.Float) string { return f.Text('g', 15) }
	given := func(t text) string { return string(t) }
	failed := false
	see := func(what, line, expected, known, seen string) {
		fmt.Printf("%-15s v = %-18s expected: %s; seen (BurntSushi, pelletier): %s\n", what, line, expected, seen)
		failed = failed || seen != known
	}
	fine := "twice 0.00000025"
	see("decimal.Decimal", `"0.00000025"`, fine, "0.00000025 0.00000025", both(`"0.00000025"`, exact))
	see("decimal.Decimal", "0.00000025", fine, "0 0.00000025", both("0.00000025", exact))
	see("decimal.Decimal", "1_000", "twice 1000", "1000 error", both("1_000", exact))
	see("decimal.Decimal", "0x10", "twice 16", "16 error", both("0x10", exact))
	see("big.Float", "3.14159265358979", "twice what is written", "3.141593 3.14159265358979", both("3.14159265358979", float))
	see("the text itself", "1.10", "one and the same", "1.100000 1.10", both("1.10", given))
	if failed {
		os.Exit(1)
	}
}
GO
go mod init finding 2>/dev/null
timeout 120 go get github.com/BurntSushi/toml@v1.6.0 github.com/pelletier/go-toml/v2@v2.4.3 github.com/shopspring/decimal@v1.4.0 2>/dev/null
go list -m github.com/BurntSushi/toml github.com/pelletier/go-toml/v2 github.com/shopspring/decimal
timeout 120 go run .
