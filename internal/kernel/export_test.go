package kernel

import (
	"context"

	"github.com/mdlayher/netlink"

	"macvtap-filter/internal/ruleset"
)

// CreatePlain programs tables that are no interfaces' rules, as the guard's is programmed.
func CreatePlain(ctx context.Context, tables ...ruleset.Table) error {
	return createPlain(ctx, tables...)
}

// ReplacePlain programs such a table in the place of one of that name, if there is one.
func ReplacePlain(ctx context.Context, table ruleset.Table) error {
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer closeLater(conn)
	compiled, err := compile(table)
	if err != nil {
		return err
	}
	return commit(conn, inPlace(table.Name, compiled))
}

// ReadPlain reads such a table, as the guard's is read.
func ReadPlain(ctx context.Context, name string) (ruleset.Table, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return ruleset.Table{}, err
	}
	defer r.close()
	p, err := r.take(name, (*picture).all)
	if err != nil {
		return ruleset.Table{}, err
	}
	return p.table(), nil
}

// UsePrefixes has guards programmed with prefixes, or with their names spelled out,
// whatever nft is here, until undo is called.
func UsePrefixes(use bool) (undo func()) {
	prefixes.once.Do(func() {})
	before := prefixes.read
	prefixes.read = use
	return func() { prefixes.read = before }
}

// StartMessages gives how many netlink messages the transaction of a start would have.
func StartMessages(ctx context.Context, tables []ruleset.Table) (int, error) {
	tables, err := bound(tables)
	if err != nil {
		return 0, err
	}
	r, err := dialReader(ctx)
	if err != nil {
		return 0, err
	}
	defer r.close()
	var bases []string
	for _, t := range tables {
		device, _ := ruleset.TableDevice(t.Name)
		bases = append(bases, ruleset.BaseName("from-vm", device), ruleset.BaseName("to-vm", device))
	}
	p, err := r.take(ruleset.RulesTable, func(p *picture) error { return p.start(tables, bases, trust{}, digests{}) })
	if err != nil {
		return 0, err
	}
	t := newTransaction(p, p.held(), digests{})
	for _, table := range tables {
		t.want(table, false)
	}
	messages, err := t.messages(false)
	return len(messages), err
}

// Generation gives the number of nftables' last transaction.
func Generation(ctx context.Context) (uint64, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return 0, err
	}
	defer r.close()
	return r.generation()
}

// inPlace puts before a table's messages those that delete what has its name.
// Adding the table first makes the deletion succeed whether it stood or not.
func inPlace(name string, table []netlink.Message) []netlink.Message {
	return append([]netlink.Message{table[0], deleteNamed(name)}, table...)
}
