package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dial opens a netlink socket to nfnetlink whose calls end when ctx does.
func dial(ctx context.Context) (*netlink.Conn, error) { return dialWith(ctx, nil) }

func dialWith(ctx context.Context, config *netlink.Config) (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, config)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	// Else each error holds the whole message that it is about, and there is no room for a few.
	if err := conn.SetOption(netlink.CapAcknowledge, true); err != nil {
		conn.Close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
	}
	return conn, nil
}

// closeLater closes a socket without waiting for it: after a deletion the kernel
// keeps the closing process until it has freed what was deleted
// (net/netfilter/nf_tables_api.c, nft_rcv_nl_event), while others may wait for
// this one's lock.
func closeLater(conn *netlink.Conn) { go conn.Close() }

// commit sends messages as one nftables transaction: all of them take effect, or
// none does (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch). The error names
// the object that the kernel refused first.
func commit(conn *netlink.Conn, messages []netlink.Message) error {
	if len(messages) == 0 {
		return nil
	}
	batch := enclose(messages)
	if err := enlarge(conn, batch); err != nil {
		return err
	}
	if err := sendAll(conn, batch); err != nil {
		return refused(fmt.Errorf("send the transaction to nftables: %w", err))
	}
	return await(conn, batch)
}

// sendAll sends messages in one datagram, numbered from 1, as await finds them by.
// The library would copy each three times, which takes a third as long as the kernel
// takes over a VM's rules.
func sendAll(conn *netlink.Conn, messages []netlink.Message) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	datagram := encode(messages)
	err = raw.Write(func(fd uintptr) (done bool) {
		failure = unix.Sendto(int(fd), datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(failure, unix.EAGAIN)
	})
	return errors.Join(err, os.NewSyscallError("sendto", failure))
}

// encode numbers messages and puts them one behind the other (netlink(7)).
func encode(messages []netlink.Message) []byte {
	aligned := func(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
	size := 0
	for _, m := range messages {
		size += unix.NLMSG_HDRLEN + aligned(len(m.Data))
	}
	datagram := make([]byte, 0, size)
	for i := range messages {
		h := &messages[i].Header
		h.Sequence, h.Length = uint32(i+1), uint32(unix.NLMSG_HDRLEN+aligned(len(messages[i].Data)))
		datagram = binary.NativeEndian.AppendUint32(datagram, h.Length)
		datagram = binary.NativeEndian.AppendUint16(datagram, uint16(h.Type))
		datagram = binary.NativeEndian.AppendUint16(datagram, uint16(h.Flags))
		datagram = binary.NativeEndian.AppendUint32(datagram, h.Sequence)
		datagram = binary.NativeEndian.AppendUint32(datagram, 0) // the kernel knows whose socket it is
		datagram = append(datagram, messages[i].Data...)
		datagram = append(datagram, make([]byte, aligned(len(datagram))-len(datagram))...)
	}
	return datagram
}

// enclose puts messages between the begin and end that make them one
// transaction. The last message asks for an answer: the kernel sends it after
// all earlier messages' errors, and only when the transaction is over.
func enclose(messages []netlink.Message) []netlink.Message {
	mark := func(kind int) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
			Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	batch := append([]netlink.Message{mark(unix.NFNL_MSG_BATCH_BEGIN)}, messages...)
	if len(messages) > 0 {
		batch[len(batch)-1].Header.Flags |= netlink.Acknowledge
	}
	return append(batch, mark(unix.NFNL_MSG_BATCH_END))
}

// enlarge makes room for the whole transaction, which is sent at once, and for
// one error per message.
func enlarge(conn *netlink.Conn, batch []netlink.Message) error {
	const roomPerError = 1024
	size := 0
	for _, m := range batch {
		size += unix.NLMSG_HDRLEN + len(m.Data) + unix.NLMSG_ALIGNTO
	}
	const usual = 128 << 10 // below the kernel's default, where no call is needed
	if size > usual {
		if err := conn.SetWriteBuffer(size); err != nil {
			return fmt.Errorf("room for a transaction of %d bytes: %w", size, err)
		}
	}
	if room := len(batch) * roomPerError; room > usual {
		if err := conn.SetReadBuffer(room); err != nil {
			return fmt.Errorf("room for the answers to %d messages: %w", len(batch), err)
		}
	}
	return nil
}

// await reads the kernel's answers up to the one to the last message, and gives
// the first error among them.
func await(conn *netlink.Conn, sent []netlink.Message) error {
	last := sent[len(sent)-2].Header.Sequence
	var first error
	for {
		answers, err := conn.Receive()
		if err != nil {
			var refusal *netlink.OpError
			if !errors.As(err, &refusal) || refusal.Sequence == 0 {
				return refused(fmt.Errorf("read nftables' answer: %w", err))
			}
			if first == nil {
				first = refused(fmt.Errorf("nftables refuses %s: %w", describe(sent, refusal.Sequence), refusal.Err))
			}
			// An error to the begin stands for the whole transaction, and
			// no other answer follows.
			if refusal.Sequence == last || refusal.Sequence == sent[0].Header.Sequence {
				return first
			}
			continue
		}
		for _, a := range answers {
			if a.Header.Sequence == last {
				return first
			}
		}
	}
}

// refused adds what an administrator can do about the kernel's commonest
// refusals.
func refused(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: this needs root (CAP_NET_ADMIN in the network namespace), and a table of that name that no other process owns", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel lacks nftables' netdev egress hook (Linux 5.16 with CONFIG_NETFILTER_EGRESS) or a part of nf_tables", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the kernel did not answer in time", err)
	}
	return err
}

var messageNames = map[int]string{
	unix.NFT_MSG_NEWTABLE: "table", unix.NFT_MSG_DELTABLE: "the removal of table",
	unix.NFT_MSG_NEWCHAIN: "chain", unix.NFT_MSG_DELCHAIN: "the removal of chain", unix.NFT_MSG_DELRULE: "the removal of rules of", unix.NFT_MSG_DELSET: "the removal of set", unix.NFT_MSG_DELSETELEM: "the removal of elements of set", unix.NFT_MSG_NEWRULE: "a rule of table",
	unix.NFT_MSG_NEWSET: "set", unix.NFT_MSG_NEWSETELEM: "elements of set", unix.NFT_MSG_NEWOBJ: "counter",
}

// describe names the object of the message with that sequence number. In the
// messages sent here every object's first attributes are the names of its
// table and of itself.
func describe(sent []netlink.Message, sequence uint32) string {
	for _, m := range sent {
		if m.Header.Sequence != sequence {
			continue
		}
		kind := int(m.Header.Type) & 0xff
		name := messageNames[kind]
		if name == "" {
			break
		}
		for _, s := range names(m.Data, kind) {
			name += fmt.Sprintf(" %q", s)
		}
		return name
	}
	return "the transaction"
}

// names gives the table's name, and the object's own where it has one.
func names(data []byte, kind int) []string {
	wanted := 2
	if kind == unix.NFT_MSG_NEWTABLE || kind == unix.NFT_MSG_DELTABLE || kind == unix.NFT_MSG_NEWRULE {
		wanted = 1
	}
	attributes, err := netlink.UnmarshalAttributes(data[headerSize:])
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range attributes {
		// Attributes 1 to 3 are the names in all of these messages; set
		// identifiers among them are four bytes.
		if n := len(a.Data); a.Type <= 3 && n > 1 && a.Data[n-1] == 0 && n != 4 && len(out) < wanted {
			out = append(out, string(a.Data[:n-1]))
		}
	}
	return out
}
