package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
)

// print prints a group of rows for each hook call.
func (t *starts) print(out *printer) {
	rounds := len(t.wall[firstStart][ours])
	out.title(fmt.Sprintf("A hook call as a whole process, from fork to exit (%d rounds)", rounds))
	header := table.Row{"", "of the shell hook's", "of an empty Go process's", "ms: median", "least", "quartiles", "CPU ms"}
	var groups [][]table.Row
	for _, call := range hookCalls {
		var rows []table.Row
		for _, name := range t.contenders {
			wall, ok := t.wall[call][name]
			if !ok {
				continue
			}
			rows = append(rows, table.Row{
				call + ": " + name,
				ratio(wall.over(t.wall[call][shell])),
				ratio(wall.over(t.wall[call][emptyGo])),
				milliseconds(wall.median()), milliseconds(wall.min()), spread(wall, milliseconds),
				milliseconds(t.cpu[call][name].median()),
			})
		}
		groups = append(groups, rows)
	}
	out.table(header, groups)
	out.println("Ratios are made round by round; given are their median and quartiles. A call that deletes\n" +
		"a table waits, when it ends, for the kernel to free it; a first start deletes none.")
}

func (t *starts) write(l *lines) {
	for _, call := range hookCalls {
		for _, name := range t.contenders {
			for i, wall := range t.wall[call][name] {
				l.write([]string{"HookCall", "call=" + call, "hook=" + name},
					result{wall, "ns/op"}, result{t.cpu[call][name][i], "cpu-ns/op"})
			}
		}
	}
}
