package main

import (
	"context"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"macvtap-filter/internal/libvirt/daemon"
)

// A libvirt is a stand-in for libvirt's daemon: this program once more, as a process
// in the hypervisor that listens where the daemon does and knows the XML of VMs that
// nobody ever booted. What a command takes beside it, it takes itself: the daemon's
// own time, to write down a VM's XML, is in no result.
type libvirt struct {
	cmd  *exec.Cmd
	feed io.Closer
}

// libvirtArgument, alone on the command line, makes this program a stand-in.
const libvirtArgument = "stand-in-for-libvirt"

// libvirtSocket is where the monolithic daemon listens.
const libvirtSocket = "/run/libvirt/libvirt-sock"

// A knownVM is a VM as the stand-in knows it.
type knownVM struct {
	Name string
	UUID []byte
	XML  []byte
}

// startLibvirt starts a stand-in that knows the VMs, all running.
func (s *site) startLibvirt(ctx context.Context, vms []vm) (*libvirt, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, libvirtArgument)
	cmd.Stderr = os.Stderr
	feed, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answer, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.network.Hypervisor.Start(cmd); err != nil {
		return nil, fmt.Errorf("start the stand-in for libvirt: %w", err)
	}
	l := &libvirt{cmd, feed}
	var domains []knownVM
	for _, v := range vms {
		uuid, err := hex.DecodeString(strings.ReplaceAll(v.uuid, "-", ""))
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		domains = append(domains, knownVM{v.name, uuid, v.running(s.network.Parent)})
	}
	if err := gob.NewEncoder(feed).Encode(domains); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if _, err := answer.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("the stand-in for libvirt: %w", err), l.close())
	}
	return l, nil
}

func (l *libvirt) close() error { return errors.Join(l.feed.Close(), l.cmd.Wait()) }

// serveLibvirt is the stand-in's own side: it ends when nobody feeds it any more.
func serveLibvirt(in io.Reader, out io.Writer) error {
	var domains []knownVM
	if err := gob.NewDecoder(in).Decode(&domains); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(libvirtSocket), 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("unix", libvirtSocket)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // another stand-in may come after this one
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := serveClient(conn, domains); err != nil && !errors.Is(err, io.EOF) {
					fmt.Fprintf(os.Stderr, "bench: the stand-in for libvirt: %v\n", err)
				}
			}()
		}
	}()
	if _, err := out.Write([]byte{1}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// serveClient answers one client's calls.
func serveClient(conn net.Conn, domains []knownVM) error {
	byName := map[string]knownVM{}
	for _, d := range domains {
		byName[d.Name] = d
	}
	for {
		call, err := daemon.Read(conn)
		if err != nil {
			return err
		}
		answer, err := answerTo(call, domains, byName)
		if err != nil {
			return err
		}
		_, err = conn.Write(call.Answer(answer, false))
		if call.Procedure == daemon.Close {
			return io.EOF // some clients do not wait for the answer
		}
		if err != nil {
			return err
		}
	}
}

// answerTo gives a call's result.
func answerTo(call daemon.Call, domains []knownVM, byName map[string]knownVM) ([]byte, error) {
	switch call.Procedure {
	case daemon.Open, daemon.Close:
		return nil, nil
	case daemon.AuthList: // one way: none
		return daemon.Words(1, 0), nil
	case daemon.IsActive:
		return daemon.Words(1), nil
	case daemon.ListAll:
		out := daemon.Words(uint32(len(domains)))
		for id, d := range domains {
			out = append(out, d.listed(id+1)...)
		}
		return append(out, daemon.Words(uint32(len(domains)))...), nil
	case daemon.LookupByName, daemon.GetXML: // both begin with the name
		n := binary.BigEndian.Uint32(call.Arguments)
		d, ok := byName[string(call.Arguments[4:4+n])]
		if !ok {
			return nil, fmt.Errorf("no VM %q", call.Arguments[4:4+n])
		}
		if call.Procedure == daemon.GetXML {
			return daemon.Text(string(d.XML)), nil
		}
		return d.listed(1), nil
	}
	return nil, fmt.Errorf("call %d is none that it knows", call.Procedure)
}

// listed writes the domain as calls name it.
func (d knownVM) listed(id int) []byte { return daemon.VM(d.Name, [16]byte(d.UUID), uint32(id)) }
