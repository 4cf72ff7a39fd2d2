# Draws the README's pictures from what the programs print on a terminal:
# "make pictures". It needs root, script (util-linux) and Go.
set -eu
cd "$(dirname "$0")"
GO=${GO:-go}
freeze="$GO run github.com/charmbracelet/freeze@v0.2.2"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# draw FILE: from the escape codes on standard input. The fonts are the reader's.
draw() {
	$freeze --language ansi --font.family 'ui-monospace, Menlo, Consolas, monospace' --font.size 13 --line-height 1.25 \
		--wrap 110 --background '#0d1117' --padding 16 --border.radius 8 --output "$1" >"$work/drawn" || { cat "$work/drawn" >&2; exit 1; }
	echo "drew internal/doc/$1"
}

NO_COLOR='' TERM=xterm-256color script --quiet --return --command \
	"stty cols 110 rows 60; cd ../..; $GO run ./cmd/demo" "$work/typescript" </dev/null >/dev/null
tr -d '\r' <"$work/typescript" | sed '/^Script \(started\|done\)/d' >"$work/demo"
draw demo.svg <"$work/demo"
sed -n '/macvtap-filter status/,/macvtap interfaces:/p' "$work/demo" | draw status.svg
