package bench

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// plotFrames shows what a longer allow list costs.
func (r *Results) plotFrames() *plot.Plot {
	p := newPlot("A 64-byte IPv4 frame from the VM to the internet", "allowed hosts", "µs a frame")
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = named([]float64{3, 10, 100, 1_000, 10_000}, func(v float64) string { return grouped(int(v)) })
	p.Y.Tick.Marker = named([]float64{1, 2, 5, 10, 20, 50, 100, 200}, func(v float64) string { return grouped(int(v)) })
	drawn := false
	for _, kind := range []string{Linear, Shell, OursGuard, Ours, TrafficControl, Unfiltered} {
		var through points
		for _, hosts := range hostCounts {
			measured := hosts
			if kind == Shell || kind == Unfiltered {
				measured = 0 // the same however many
			}
			through.add(float64(max(hosts, 3)), r.Of(PerFrame(Frames[0], Rules{kind, measured}), Time), 1e3)
		}
		drawn = line(p, kind, kind, through) || drawn
	}
	if !drawn {
		return nil
	}
	p.Y.Min = min(p.Y.Min, 1)
	return p
}

// plotScale shows what neighbours cost a start.
func (r *Results) plotScale() *plot.Plot {
	p := newPlot("A first start beside others", "protected NICs", "ms")
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = named([]float64{5, 10, 20, 50, 100, 200, 500, 1000, 2000}, func(v float64) string { return grouped(int(v)) })
	drawn := false
	for _, hook := range []string{ShellMany, Ours} {
		var through points
		for _, n := range []int{0, 100, 1_000} {
			through.add(float64(n), r.Of(Beside(hook, n), Time), 1e6)
		}
		drawn = line(p, hook, hook, through) || drawn
	}
	if !drawn {
		return nil
	}
	p.Y.Min = min(p.Y.Min, 5)
	return p
}

// plotStarts shows hook calls as bars, with their quartiles.
func (r *Results) plotStarts() *plot.Plot {
	p := newPlot("A hook call, from fork to exit", "", "ms")
	p.NominalX(HookCalls...)
	hooks := []string{EmptyGo, Ours, Shell, ShellMany}
	const width = 18
	drawn := false
	for i, hook := range hooks {
		var medians plotter.Values
		var spread points
		for at, call := range HookCalls {
			s := r.Of(HookCall(call, hook, 1), Time)
			medians = append(medians, s.Median()/1e6)
			spread.add(float64(at), s, 1e6)
		}
		if len(spread.XYs) != len(HookCalls) {
			continue
		}
		bars, err := plotter.NewBarChart(medians, vg.Points(width))
		if err != nil {
			continue
		}
		bars.Color, bars.LineStyle.Width = paints[hook], 0
		bars.Offset = vg.Points((float64(i) - float64(len(hooks)-1)/2) * (width + 2))
		p.Add(bars)
		p.Legend.Add(hook, bars)
		drawn = true
	}
	if !drawn {
		return nil
	}
	p.Y.Min, p.Y.Max = 0, math.Ceil(p.Y.Max*1.5/10)*10 // room for the legend
	var tens []float64
	for v := 0.0; v <= p.Y.Max; v += 10 {
		tens = append(tens, v)
	}
	p.Y.Tick.Marker = named(tens, func(v float64) string { return grouped(int(v)) })
	return p
}
