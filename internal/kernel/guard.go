package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/ruleset"
)

// Flags of a table that belongs to a process
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_table_flags). While the
// socket is open that made it, nobody else can change or remove the table, nor
// anything in it; with persist it then stays, is nobody's, and can be adopted
// (Linux 6.9). So devices' tables cannot be owned: hooks, which are other
// processes, program and remove them. The guard can, for it holds nothing of any
// device.
const (
	tableOwned   = 2
	tablePersist = 4
)

// ErrNoGuard says that this kernel cannot have a guard.
var ErrNoGuard = errors.New("this kernel cannot bind rules to the beginning of device names, which guard = true needs (Linux 6.17)")

// ErrGuardOwned says that the guard belongs to another process, as long as that
// runs.
var ErrGuardOwned = errors.New("the guard belongs to another process, most likely a running \"macvtap-filter watch\", and only that can change it")

// LookGuard finds the guard, the table of the name ruleset.GuardTable; false when
// none stands.
func LookGuard(ctx context.Context) (Standing, bool, error) {
	conn, err := dial(ctx)
	if err != nil {
		return Standing{}, false, err
	}
	defer conn.Close()
	return lookGuard(conn)
}

// RaiseGuard puts the guard up (see filter.Guard), in the place of the one that
// stands; there is no moment without one. From now on the frames of every device
// that it covers are dropped that no rules of the device's own mark. It outlives
// this process. Errors are ErrNoGuard and ErrGuardOwned among others.
func RaiseGuard(ctx context.Context, guard ruleset.Table) error {
	guard, err := Spell(ctx, guard)
	if err != nil {
		return err
	}
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer closeLater(conn)
	return raise(conn, guard, 0)
}

// RemoveGuard removes the guard, and reports whether there was one. One of another
// process stays, and is ErrGuardOwned.
func RemoveGuard(ctx context.Context) (bool, error) {
	conn, err := dial(ctx)
	if err != nil {
		return false, err
	}
	defer closeLater(conn)
	return lower(conn)
}

func lower(conn *netlink.Conn) (bool, error) {
	guard, standing, err := lookGuard(conn)
	if err != nil || !standing {
		return false, err
	}
	err = commit(conn, []netlink.Message{deleteHandle(guard.Handle)})
	if errors.Is(err, unix.ENOENT) {
		return false, nil // somebody else was faster
	}
	return err == nil, guardRefused(conn, err)
}

// raise puts the guard up with flags that say whose it is. One that nobody owns
// could be adopted, but with all that others did to it; so it is replaced.
func raise(conn *netlink.Conn, guard ruleset.Table, flags uint32) error {
	messages, err := compile(guard)
	if err != nil {
		return err
	}
	messages[0] = newTable(guard, flags)
	// The first of the two makes the deletion succeed whether there is one or
	// not. Without flags, which may differ, it changes nothing of one that
	// stands.
	place := []netlink.Message{
		request(unix.NFT_MSG_NEWTABLE, netlink.Create, attribute(unix.NFTA_TABLE_NAME, cString(guard.Name))),
		deleteNamed(guard.Name),
	}
	return guardRefused(conn, commit(conn, append(place, messages...)))
}

// newTable is the message that creates a table with flags.
func newTable(t ruleset.Table, flags uint32) netlink.Message {
	attributes := attribute(unix.NFTA_TABLE_NAME, cString(t.Name))
	attributes = append(attributes, attribute(unix.NFTA_TABLE_FLAGS, binary.BigEndian.AppendUint32(nil, flags))...)
	return request(unix.NFT_MSG_NEWTABLE, netlink.Create, append(attributes, tableComment(t.Comment)...))
}

// guardRefused says why the kernel refuses a change of the guard. Older kernels do
// not know a prefix of names (EINVAL), or names of no device (ENOENT), and still
// older ones not a table that persists (EOPNOTSUPP).
func guardRefused(conn *netlink.Conn, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		if guard, standing, lookErr := lookGuard(conn); lookErr == nil && standing && guard.Owner != 0 {
			return fmt.Errorf("%w (process %d)", ErrGuardOwned, guard.Owner&(1<<ownerBits-1))
		}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		var reason unix.Errno
		errors.As(err, &reason)
		return fmt.Errorf("%w: %w", ErrNoGuard, reason)
	}
	return err
}

// An OwnedGuard is a guard that nobody else can change or remove as long as it is
// open: not "nft flush ruleset", and not the administrator. It is for a process
// that runs long.
type OwnedGuard struct {
	mu    sync.Mutex
	conn  *netlink.Conn
	guard ruleset.Table
	ours  Standing
}

// OpenGuard puts the guard up, or takes over the one that stands, and owns it.
// Errors are ErrNoGuard, and ErrGuardOwned while another process owns it.
func OpenGuard(ctx context.Context, guard ruleset.Table) (*OwnedGuard, error) {
	conn, err := dialOwner()
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	o := &OwnedGuard{conn: conn}
	if err := o.Ensure(ctx, guard); err != nil {
		conn.Close()
		return nil, err
	}
	return o, nil
}

// ownerBits are what a port of dialOwner holds of the process's identifier
// (include/linux/threads.h, PID_MAX_LIMIT).
const ownerBits = 22

// owners counts the sockets that this process owned a guard by.
var owners atomic.Uint32

// dialOwner opens a socket with a port that no other ever has: neither one that the
// kernel chooses, which is the process's identifier or negative
// (net/netlink/af_netlink.c, netlink_autobind), nor an earlier one of this process.
// The kernel knows owners by their ports; when a socket closes, its port is free
// before the kernel takes its tables from it (net/netfilter/nf_tables_api.c,
// nft_rcv_nl_event), and it would take the next one's.
func dialOwner() (*netlink.Conn, error) {
	const most = 1 << (31 - ownerBits)
	for {
		n := owners.Add(1)
		port := n%most<<ownerBits | uint32(os.Getpid())
		if n%most == 0 {
			continue // what the kernel would choose
		}
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{PID: port})
		if !errors.Is(err, unix.EADDRINUSE) || n >= most {
			return conn, err
		}
	}
}

// Ensure has the guard stand, and be this one, which may cover other devices than
// before. It changes nothing where that is so.
func (o *OwnedGuard) Ensure(ctx context.Context, guard ruleset.Table) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.until(ctx); err != nil {
		return err
	}
	guard, err := Spell(ctx, guard)
	if err != nil {
		return err
	}
	now, standing, err := lookGuard(o.conn)
	if err != nil {
		return err
	}
	if standing && now == o.ours && slices.EqualFunc(guard.Chains, o.guard.Chains, sameHook) {
		return nil
	}
	if err := raise(o.conn, guard, tableOwned|tablePersist); err != nil {
		return err
	}
	o.guard = guard
	o.ours, _, err = lookGuard(o.conn)
	return err
}

// sameHook reports whether two of the guard's chains are bound to the same devices;
// all else is the same in any guard.
func sameHook(a, b ruleset.Chain) bool {
	return a.Name == b.Name && slices.Equal(a.Hook.Names, b.Hook.Names) && slices.Equal(a.Hook.Prefixes, b.Hook.Prefixes)
}

// Remove removes the guard, and reports whether there was one.
func (o *OwnedGuard) Remove(ctx context.Context) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.until(ctx); err != nil {
		return false, err
	}
	return lower(o.conn)
}

// Close gives the guard up: it stands on, and is nobody's, made anew without the flag to
// persist. nft 1.0 has no word for that flag, and loads nothing of a list with such a
// table in it. Where it cannot be made anew, as when the process is killed, it stands on
// as it is.
func (o *OwnedGuard) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.conn.SetDeadline(time.Now().Add(patience.Release)); err == nil {
		if now, standing, err := lookGuard(o.conn); err == nil && standing && now == o.ours {
			_ = raise(o.conn, o.guard, 0)
		}
	}
	return o.conn.Close()
}

// until has the socket's calls end when ctx does.
func (o *OwnedGuard) until(ctx context.Context) error {
	deadline, _ := ctx.Deadline() // the zero time is no deadline
	if err := o.conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	return nil
}
