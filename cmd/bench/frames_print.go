package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// print prints the ratios at a glance, then each figure.
func (f *frames) print(out *printer) {
	for _, way := range []direction{fromVM, toVM} {
		f.printRatios(out, way)
	}
	f.printFigures(out)
	out.println("A round's figure is the median of many batches of 64 frames; ratios and costs are made round\n" +
		"by round, and are medians, with their quartiles. The time is of the whole way, unfiltered\n" +
		"too: from the VM, a write to the tap until the frame is in the LAN's bridge; to the VM, from\n" +
		"a packet socket on the LAN's end of the cable to the tap's queue, which is full.")
}

func (f *frames) printRatios(out *printer, way direction) {
	out.title(fmt.Sprintf("A frame %s: its time as a part of the shell hook's", way))
	header := table.Row{""}
	for _, k := range kinds {
		if k.way == way {
			header = append(header, fmt.Sprintf("%s\n%s, %d bytes", k.peer, k.family(), k.size))
		}
	}
	var rows []table.Row
	for _, r := range f.rules {
		row := table.Row{r.name}
		for _, k := range kinds {
			if k.way == way {
				row = append(row, ratio(f.ns[k][r.name].over(f.ns[k][shell])))
			}
		}
		rows = append(rows, row)
	}
	out.table(header, [][]table.Row{rows})
}

func (f *frames) printFigures(out *printer) {
	out.title(fmt.Sprintf("Nanoseconds per frame (%d rounds)", len(f.ns[kinds[0]][unfiltered])))
	header := table.Row{"", "of the shell hook's", "ns: median", "least", "quartiles", "over unfiltered", "quartiles"}
	var groups [][]table.Row
	for _, k := range kinds {
		rows := []table.Row{{fmt.Sprintf("%s, %s, %s, %d bytes:", strings.ToUpper(string(k.way[:1]))+string(k.way[1:]), k.peer, k.family(), k.size)}}
		for _, r := range f.rules {
			ns := f.ns[k][r.name]
			cost := ns.above(f.ns[k][unfiltered])
			rows = append(rows, table.Row{
				"  " + r.name, ratio(ns.over(f.ns[k][shell])),
				whole(ns.median()), whole(ns.min()), spread(ns, whole),
				fmt.Sprintf("%+.0f", cost.median()), spread(cost, whole),
			})
		}
		groups = append(groups, rows)
	}
	out.table(header, groups)
}

func (f *frames) write(l *lines) {
	for _, k := range kinds {
		for _, r := range f.rules {
			for _, ns := range f.ns[k][r.name] {
				l.write([]string{
					"Frame", "way=" + string(k.way), "peer=" + k.peer, "family=" + k.family(),
					fmt.Sprintf("bytes=%d", k.size), "rules=" + r.name,
				}, result{ns, "ns/op"})
			}
		}
	}
}
