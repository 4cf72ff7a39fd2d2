package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// TestInterruptedList has the first table go while tables are listed. The kernel then
// goes on behind one that it did not tell of: either all others are told of, or the list
// says that it was interrupted.
func TestInterruptedList(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("NOT TESTED: network namespaces need root")
	}
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	if err := ns.Do(func() error { return listInterrupted(t) }); err != nil {
		t.Fatal(err)
	}
}

func listInterrupted(t *testing.T) error {
	conn, err := dial(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	other, err := dial(context.Background())
	if err != nil {
		return err
	}
	defer other.Close()
	if err := createPlain(context.Background(), ruleset.Table{Name: ruleset.RulesTable}); err != nil {
		return err
	}
	made, gone := 0, 0
	add := func() error {
		made++
		messages, err := compile(ruleset.Table{Name: fmt.Sprintf("%s-%d", ruleset.Prefix, made)})
		if err != nil {
			return err
		}
		return commit(other, messages)
	}
	// Several datagrams, the last of them of any length: the kernel makes one ahead.
	const few, many, apart = 150, 230, 8
	missed, marked := 0, 0
	for made-gone < many {
		if err := add(); err != nil {
			return err
		}
		stand := made - gone
		for at := 2; at <= stand && stand >= few; at += apart {
			told := 0
			r := &reader{conn: conn}
			_, err := r.take(ruleset.RulesTable, func(*picture) error {
				return r.dump(unix.NFT_MSG_GETTABLE, nil, func([]byte) error {
					told++
					if told != at {
						return nil
					}
					gone++
					return commit(other, []netlink.Message{deleteNamed(fmt.Sprintf("%s-%d", ruleset.Prefix, gone))})
				})
			})
			switch {
			case errors.Is(err, errInterrupted):
				marked++
			case err != nil:
				return err
			case told < stand+1: // the first one, too, was told of before it went
				missed++
			}
			if err := add(); err != nil {
				return err
			}
		}
	}
	if missed > 0 || marked == 0 {
		t.Errorf("%d lists lack a table and do not say so, %d say so", missed, marked)
	}
	return nil
}
