package main

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/bench"
)

func TestFramesAreWhatTheySay(t *testing.T) {
	for _, f := range bench.Frames {
		built, err := build(f, newVM("web", 1, 1).nics[0].MAC, gateway4)
		if err != nil {
			t.Fatal(err)
		}
		ask, frame := built[:len(request{})], built[len(request{}):]
		if len(frame) != f.Size {
			t.Errorf("%+v: %d bytes", f, len(frame))
		}
		if asks := ask[1] != 0; asks != (f.Size > 1514) {
			t.Errorf("%+v: asks to be cut up: %t", f, asks)
		}
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if problem := packet.ErrorLayer(); problem != nil {
			t.Errorf("%+v: %v", f, problem.Error())
		}
		far := internet4.AsSlice()
		switch {
		case f.IPv6:
			far = internet6.AsSlice()
		case f.Peer == bench.LANHost:
			far = gateway4.AsSlice()
		}
		source, destination := packet.NetworkLayer().NetworkFlow().Endpoints()
		peer := destination
		if f.Way == bench.ToVM {
			peer = source
		}
		if string(peer.Raw()) != string(far) {
			t.Errorf("%+v: the peer is %v", f, peer)
		}
	}
}
