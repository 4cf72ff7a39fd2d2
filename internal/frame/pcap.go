package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What begins a capture file, in the byte order of the machine that wrote it:
// times in micro- or nanoseconds (pcap-savefile(5)), and the newer format.
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
	magicNG    = 0x0a0d0d0a

	linkEthernet = 1 // LINKTYPE_ETHERNET
	largestFrame = 1 << 18
)

// ReadPcap reads the Ethernet frames of a capture file as tcpdump writes one
// (pcap-savefile(5)).
func ReadPcap(r io.Reader) ([][]byte, error) {
	head := make([]byte, 24)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("no capture file: %w", err)
	}
	order, err := byteOrder(head)
	if err != nil {
		return nil, err
	}
	if link := order.Uint32(head[20:]) & 0xffff; link != linkEthernet {
		return nil, fmt.Errorf("a capture of link type %d, want Ethernet (1): capture on the device itself, not on \"any\"", link)
	}
	var frames [][]byte
	for {
		record := make([]byte, 16)
		_, err := io.ReadFull(r, record)
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, fmt.Errorf("capture file: frame %d: %w", len(frames)+1, err)
		}
		captured, whole := order.Uint32(record[8:]), order.Uint32(record[12:])
		if captured > largestFrame {
			return nil, fmt.Errorf("capture file: frame %d: %d bytes", len(frames)+1, captured)
		}
		if captured < whole {
			return nil, fmt.Errorf("capture file: frame %d was cut to %d of %d bytes: capture with \"tcpdump -s 0\"", len(frames)+1, captured, whole)
		}
		f := make([]byte, captured)
		if _, err := io.ReadFull(r, f); err != nil {
			return nil, fmt.Errorf("capture file: frame %d: %w", len(frames)+1, err)
		}
		frames = append(frames, f)
	}
}

func byteOrder(head []byte) (binary.ByteOrder, error) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head) {
		case magicMicro, magicNano:
			return order, nil
		case magicNG:
			return nil, errors.New("a capture in the format pcapng: turn it into pcap, as with \"tcpdump -r FILE -w FILE.pcap\"")
		}
	}
	return nil, errors.New("no capture file as tcpdump writes one")
}
