package main

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestFramesAreWhatTheySay(t *testing.T) {
	for _, k := range kinds {
		frame, err := k.frame(gateway4)
		if err != nil {
			t.Fatal(err)
		}
		if len(frame) != k.size {
			t.Errorf("%+v: %d bytes", k, len(frame))
		}
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if problem := packet.ErrorLayer(); problem != nil {
			t.Errorf("%+v: %v", k, problem.Error())
		}
		far := internet4.AsSlice()
		switch {
		case k.ipv6:
			far = internet6.AsSlice()
		case k.peer == lanHost:
			far = gateway4.AsSlice()
		}
		source, destination := packet.NetworkLayer().NetworkFlow().Endpoints()
		peer := destination
		if k.way == toVM {
			peer = source
		}
		if string(peer.Raw()) != string(far) {
			t.Errorf("%+v: the peer is %v", k, peer)
		}
	}
}
