package bench

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that can be told from white and from black.
var (
	ink    = color.RGBA{0x7d, 0x85, 0x90, 0xff} // words and axes
	grid   = color.RGBA{0x7d, 0x85, 0x90, 0x40}
	paints = map[string]color.RGBA{
		Ours: {0x2f, 0x81, 0xf7, 0xff}, OursWatch: {0x6c, 0xb6, 0xff, 0xff}, OursGuard: {0x1b, 0x9e, 0x77, 0xff}, TrafficControl: {0xa3, 0x71, 0xf7, 0xff},
		Shell: {0xd2, 0x99, 0x22, 0xff}, ShellMany: {0xe3, 0x6f, 0x1e, 0xff}, Linear: {0xf8, 0x51, 0x49, 0xff},
		Unfiltered: ink, EmptyGo: ink,
	}
)

// Plots gives, by the names of files, pictures of what was measured, in SVG.
func (r *Results) Plots() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, picture := range map[string]*plot.Plot{
		"bench-starts.svg": r.plotStarts(), "bench-frames.svg": r.plotFrames(), "bench-scale.svg": r.plotScale(),
	} {
		if picture == nil {
			continue // not measured
		}
		svg, err := render(picture)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = svg
	}
	return out, nil
}

// WritePlots writes the pictures into a folder.
func (r *Results) WritePlots(folder string) error {
	pictures, err := r.Plots()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(folder, name), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// newPlot is a picture without a background, so that the page's shows.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.XOffs = vg.Points(2), vg.Points(8)
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Color = ink
		style.Font = font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, style.Font.Size)
	}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color = ink, ink
	}
	lines := plotter.NewGrid()
	lines.Vertical.Color, lines.Horizontal.Color = nil, grid
	p.Add(lines)
	return p
}

func render(p *plot.Plot) ([]byte, error) {
	canvas := vgsvg.New(6.6*vg.Inch, 3.4*vg.Inch)
	margin := vg.Points(14) // the last tick's words are wider than the picture otherwise
	p.Draw(draw.Crop(draw.New(canvas), 0, -margin, 0, -margin/2))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	// Few readers have the font that the words were measured with.
	return bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// points are what a line goes through: medians, with quartiles.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func (p *points) add(x float64, s Series, unit float64) {
	if len(s) == 0 {
		return
	}
	y := s.Median() / unit
	p.XYs = append(p.XYs, plotter.XY{X: x, Y: y})
	p.YErrors = append(p.YErrors, struct{ Low, High float64 }{y - s.Quantile(0.25)/unit, s.Quantile(0.75)/unit - y})
}

// line draws one, if there is anything of it, and names it in the legend.
func line(p *plot.Plot, kind, words string, through points) bool {
	if len(through.XYs) == 0 {
		return false
	}
	path, dots, err := plotter.NewLinePoints(through.XYs)
	if err != nil {
		return false
	}
	bars, err := plotter.NewYErrorBars(through)
	if err != nil {
		return false
	}
	path.Color, path.Width = paints[kind], vg.Points(1.6)
	dots.Color, dots.Shape, dots.Radius = paints[kind], draw.CircleGlyph{}, vg.Points(2.4)
	bars.Color = paints[kind]
	p.Add(path, dots, bars)
	p.Legend.Add(words, path)
	return true
}

// named are ticks at values that have names.
func named(values []float64, name func(float64) string) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, v := range values {
		ticks = append(ticks, plot.Tick{Value: v, Label: name(v)})
	}
	return ticks
}
