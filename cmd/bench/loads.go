package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"macvtap-filter/internal/bench"
)

// underRules measures all loads under the rules that stand.
func (g *real) underRules(ctx context.Context, o options, r rules, out *bench.Results) error {
	for _, way := range []bench.Way{bench.FromVM, bench.ToVM} {
		sent, err := g.iperf(ctx, o, way)
		if err != nil {
			return err
		}
		out.Add(bench.Guest(bench.TCP, way, r.Rules), bench.Throughput, sent.End.Received.Bits)
		if sent, err = g.iperf(ctx, o, way, "--udp", "--bandwidth", "0", "--length", "64"); err != nil {
			return err
		}
		arrived := sent.End.Sum.Packets - sent.End.Sum.Lost
		out.Add(bench.Guest(bench.UDP, way, r.Rules), bench.Datagrams, arrived/sent.End.Sum.Seconds)
	}
	took, err := g.echoes(o.sizes.echoes)
	if err != nil {
		return err
	}
	name := bench.Guest(bench.Echo, bench.ToVM, r.Rules)
	out.Add(name, bench.Median, took.Median())
	out.Add(name, bench.Tail, took.Quantile(0.99))
	return nil
}

// A transfer is what iperf3 says of one.
type transfer struct {
	Error string
	End   struct {
		Received struct {
			Bits float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Seconds, Packets float64
			Lost             float64 `json:"lost_packets"`
		}
	}
}

// iperf has the internet host's iperf3 talk with the guest's, which may still be at
// the end of the talk before, and then wants to be asked again.
func (g *real) iperf(ctx context.Context, o options, way bench.Way, more ...string) (t transfer, err error) {
	const tries, pause = 300, 100 * time.Millisecond // refused is said at once
	for range tries {
		if t, err = g.iperfOnce(ctx, o, way, more...); err == nil || ctx.Err() != nil {
			break
		}
		time.Sleep(pause)
	}
	return t, err
}

// iperfTime is how long one talk may take, a second's, on a busy machine.
const iperfTime = 2 * time.Minute

func (g *real) iperfOnce(ctx context.Context, o options, way bench.Way, more ...string) (transfer, error) {
	ctx, cancel := context.WithTimeout(ctx, iperfTime)
	defer cancel()
	args := append([]string{"--client", vm4.String(), "--json", "--connect-timeout", "5000"}, o.sizes.transfer...)
	if way == bench.FromVM {
		args = append(args, "--reverse")
	}
	cmd := exec.CommandContext(ctx, "iperf3", append(args, more...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failure := g.internet.Run(cmd)
	var t transfer
	if err := json.Unmarshal(stdout.Bytes(), &t); err != nil {
		return t, fmt.Errorf("iperf3: %w: %s", errors.Join(failure, err), strings.TrimSpace(stderr.String()))
	}
	if failure != nil || t.Error != "" {
		return t, fmt.Errorf("iperf3 %s: %w; the guest says: %s", strings.Join(cmd.Args[1:], " "), errors.Join(failure, errors.New(t.Error)), g.console.String())
	}
	return t, nil
}

// echoes pings the guest so many times, one after the other, and gives the ns that
// each answer took. One that does not come is no value: half of them must.
func (g *real) echoes(n int) (bench.Series, error) {
	var conn net.PacketConn
	err := g.internet.Do(func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", internet4.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var took bench.Series
	answer := make([]byte, 1500)
	for i := range n {
		echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: i & 0xffff, Data: make([]byte, 56)}}
		request, err := echo.Marshal(nil)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := conn.SetReadDeadline(begin.Add(10 * time.Second)); err != nil { // decides nothing
			return nil, err
		}
		if _, err := conn.WriteTo(request, &net.IPAddr{IP: vm4.AsSlice()}); err != nil {
			return nil, err
		}
		for {
			length, _, err := conn.ReadFrom(answer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if length > 8 && answer[0] == byte(ipv4.ICMPTypeEchoReply) && bytes.Equal(answer[4:8], request[4:8]) {
				took = append(took, float64(time.Since(begin)))
				break
			}
		}
	}
	if len(took) < (n+1)/2 {
		return nil, fmt.Errorf("the guest answered %d of %d pings", len(took), n)
	}
	return took, nil
}
