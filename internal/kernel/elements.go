package kernel

import (
	"context"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// ChangeElements adds elements to sets of the one table, and deletes others, by the sets'
// names, in one transaction. What is there already stays; what is to be deleted has to be
// there, or the call fails with unix.ENOENT. The caller holds the lock.
func ChangeElements(ctx context.Context, add, del map[string][]ruleset.Element) error {
	conn, err := dialWith(ctx, &netlink.Config{MessageBufferSize: readBuffer})
	if err != nil {
		return err
	}
	defer closeLater(conn)
	var messages []netlink.Message
	for _, set := range slices.Sorted(maps.Keys(del)) {
		messages = append(messages, elementMessages(unix.NFT_MSG_DELSETELEM, ruleset.RulesTable, set, del[set])...)
	}
	for _, set := range slices.Sorted(maps.Keys(add)) {
		messages = append(messages, elementMessages(unix.NFT_MSG_NEWSETELEM, ruleset.RulesTable, set, add[set])...)
	}
	return commitAt(conn, 0, messages)
}
