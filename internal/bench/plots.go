package bench

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// highest is where the picture of frames ends: a linear list leaves it on its way to a
// hundred times as much, on the left, and the legend has the room on the right.
const highest = 2.1

// plotFrames shows what a longer allow list costs, as parts of the shell hook's time.
func (r *Results) plotFrames() *plot.Plot {
	p := newPlot("A 64-byte IPv4 frame from the VM to the internet", "allowed hosts", "of the shell hook's time")
	p.Legend.XOffs = vg.Points(215)
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = named([]float64{3, 10, 100, 1_000, 10_000}, func(v float64) string { return grouped(int(v)) })
	p.Y.Tick.Marker = named([]float64{0.8, 1, 1.2, 1.4, 1.6, 1.8, 2}, func(v float64) string { return fmt.Sprintf("%.1f", v) })
	shell := r.Of(PerFrame(Frames[0], Rules{Kind: Shell}), Time)
	drawn := false
	for _, kind := range []string{Linear, OursGuard, Ours, OursWatch, TrafficControl, Unfiltered, Shell} {
		var through points
		for _, hosts := range hostCounts {
			measured := hosts
			if kind == Shell || kind == Unfiltered {
				measured = 0 // the same however many
			}
			through.add(float64(max(hosts, 3)), r.Of(PerFrame(Frames[0], Rules{kind, measured}), Time).Over(shell), 1)
		}
		drawn = line(p, kind, kind, through) || drawn
	}
	if !drawn {
		return nil
	}
	p.X.Min, p.X.Max = 3, 10_000
	p.Y.Min, p.Y.Max = 0.8, highest
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

// beside draws something so far to the right of its place.
type beside struct {
	plot.Plotter
	by vg.Length
}

// Plot implements plot.Plotter.
func (b beside) Plot(c draw.Canvas, p *plot.Plot) {
	c.Min.X, c.Max.X = c.Min.X+b.by, c.Max.X+b.by
	b.Plotter.Plot(c, p)
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
		if quartiles, err := plotter.NewYErrorBars(spread); err == nil {
			quartiles.Color = ink
			p.Add(beside{quartiles, bars.Offset})
		}
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
