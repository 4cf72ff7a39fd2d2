package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/metrics"
	"macvtap-filter/internal/status"
)

// printMetrics prints the host's figures as Prometheus reads them, or puts them into a
// file for node_exporter. Figures that lack something are figures still, and say so.
func printMetrics(ctx context.Context, std streams, o options, args []string) error {
	if err := wantNone(args); err != nil {
		return err
	}
	if name := o.textfile; name != "" && filepath.Ext(name) != metrics.Extension {
		return badInput(fmt.Errorf("--textfile %s: node_exporter reads only files that end in %s", name, metrics.Extension))
	}
	page, s, err := figures(ctx, o)
	if err != nil {
		return err
	}
	if o.textfile != "" {
		err = metrics.WriteFile(o.textfile, page)
	} else {
		_, err = std.out.Write(page)
	}
	if err != nil || s.Complete && len(s.AbsentParents) == 0 {
		return err
	}
	for _, note := range s.Notes {
		warningf(std, "%s", note)
	}
	if s.Complete {
		return errTold
	}
	return fmt.Errorf("the figures are not complete: %w", errTold)
}

// figures collects the host's figures and gives them as text.
func figures(ctx context.Context, o options) ([]byte, status.Status, error) {
	began := time.Now()
	s := status.Collect(ctx, status.Options{ConfigFile: o.config, Connect: func(ctx context.Context) (status.Libvirt, error) {
		client, err := libvirt.Dial(ctx)
		if err != nil {
			return nil, err // and no nil of a type
		}
		return client, nil
	}})
	var page bytes.Buffer
	err := metrics.Write(&page, s, time.Since(began), cmp.Or(built(), "unknown"))
	return page.Bytes(), s, err
}

// An exporter has the figures of a running watch read where the configuration says.
// That it cannot is logged, and hinders nothing.
type exporter struct {
	ctx     context.Context
	options options
	log     logger

	where config.Listen
	stop  context.CancelFunc
	ended <-chan struct{} // closed when nobody listens there any more
}

// follow goes where the configuration says; --listen counts before it.
func (e *exporter) follow(c *config.Config) {
	where := c.Listen
	if e.options.listen != "" {
		where, _ = config.ParseListen(e.options.listen) // it was found right
	}
	if where == e.where {
		return
	}
	before := e.ended
	if e.stop != nil {
		e.stop()
	}
	ctx, stop := context.WithCancel(e.ctx)
	ended := make(chan struct{})
	e.where, e.stop, e.ended = where, stop, ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		if where != (config.Listen{}) {
			e.serve(ctx, where)
		}
	}()
}

// listenAgain is how long to wait after an address that was taken.
const listenAgain = 2 * time.Second

func (e *exporter) serve(ctx context.Context, where config.Listen) {
	said := ""
	for ctx.Err() == nil {
		l, err := metrics.Listen(where.Network, where.Address)
		if err == nil {
			e.log(slog.LevelInfo, fmt.Sprintf("the metrics are to be had at %s, path %s", where, metrics.Path), journal.Fields{Reason: journal.Metrics})
			metrics.Serve(ctx, l, func(ctx context.Context) ([]byte, error) {
				page, _, err := figures(ctx, e.options)
				// Of a thousand interfaces that takes ten times what watch needs.
				debug.FreeOSMemory()
				return page, err
			})
			return
		}
		if err.Error() != said {
			said = err.Error()
			e.log(slog.LevelError, fmt.Sprintf("metrics: %v; this is tried again and again", err), journal.Fields{Reason: journal.Metrics})
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}
