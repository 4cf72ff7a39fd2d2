package main

import (
	"os"
	"path/filepath"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

// TestFiveNICs writes the one table of three VMs with five NICs and two policies: what is
// the same stands once.
func TestFiveNICs(t *testing.T) {
	folder := filepath.Join("..", "..", "testdata", "five-nics")
	open := func(name string) *os.File {
		file, err := os.Open(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	c, err := config.Load(filepath.Join(folder, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := facts.Read(open("facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tables []ruleset.Table
	for _, vm := range []string{"web-1", "web-2", "shop-1"} {
		d, err := domain.Parse(open(vm + ".xml"))
		if err != nil {
			t.Fatal(err)
		}
		made, err := plan.Make(d, c, plan.Recorded(known))
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, made.Tables...)
	}
	text := ruleset.Text(tables)
	compare(t, filepath.Join(folder, "rules.nft"), text)
	inJSON, err := ruleset.JSON(tables)
	if err != nil {
		t.Fatal(err)
	}
	loadByNft(t, text, string(inJSON))
}
