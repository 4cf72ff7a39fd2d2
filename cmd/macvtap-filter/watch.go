package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/watch"
)

// watchHost runs until it is told to stop. What it programmed stands after it.
func watchHost(ctx context.Context, std streams, o options, args []string) error {
	if err := wantNone(args); err != nil {
		return err
	}
	// A configuration that is wrong already is the caller's fault.
	if _, err := load(ctx, o.config); err != nil {
		return badInput(err)
	}
	if _, err := config.ParseListen(o.listen); err != nil {
		return badInput(fmt.Errorf("--listen: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		warningf(std, "systemd's watchdog: %v", err)
	}
	log := watchLog(std)
	e := &exporter{ctx: ctx, options: o, log: log}
	return watch.Run(ctx, watch.Options{
		ConfigFile: o.config,
		Reload:     hangups(ctx),
		Connect:    func(patience time.Duration) (watch.Libvirt, error) { return libvirt.Listen(patience) },
		Keep:       keepAddresses,
		Take:       takerOf(ctx).Take,
		Log:        log,
		Configured: e.follow,
		Ready:      func() { notify(daemon.SdNotifyReady) },
		Alive:      func() { notify(daemon.SdNotifyWatchdog) },
		Heartbeat:  interval / 2,
	})
}

// keepAddresses has a running VM's metadata say what rules have learned of it.
func keepAddresses(ctx context.Context, uuid, element string) error {
	return libvirt.SetMetadata(ctx, uuid, domain.AddressesPrefix, domain.AddressesNamespace, element)
}

// notify tells systemd, where that is who started us (sd_notify(3)).
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// hangups tells of SIGHUP, by which daemons are asked to read their configuration
// again.
func hangups(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	context.AfterFunc(ctx, func() { signal.Stop(signals) })
	out := make(chan struct{})
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
			case out <- struct{}{}:
			}
		}
	}()
	return out
}
