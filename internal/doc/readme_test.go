package doc

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// mostWords is what a README may have, so that people read it.
const mostWords = 1500

func TestReadmeIsShort(t *testing.T) {
	readme, err := os.ReadFile(moduleRoot + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if words := len(strings.Fields(string(readme))); words > mostWords {
		t.Errorf("the README has %d words, want at most %d: give what is longer a page of its own", words, mostWords)
	}
}

// The README's configuration does what its comments say.
func TestReadmeConfiguration(t *testing.T) {
	readme, err := os.ReadFile(moduleRoot + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := recipe.FindAllSubmatch(readme, -1)
	if len(blocks) != 1 || blocks[0][1] == nil {
		t.Fatalf("%d configurations and console blocks, want one configuration", len(blocks))
	}
	sh := newShell(t)
	sh.configure(append(blocks[0][1], "addresses = [\"192.168.2.30\"]\n"...))
	for _, c := range []struct{ frame, want string }{
		{"--in --from 203.0.113.9 --to 192.168.2.30 --tcp 443", "passes"},
		{"--in --from 203.0.113.9 --to 192.168.2.30 --tcp 22", "dropped"},
		{"--in --from 192.168.2.77 --to 192.168.2.30 --tcp 443", "passes"},
		{"--in --from 192.168.2.77 --to 192.168.2.30 --tcp 22", "dropped"},
		{"--out --to 192.168.2.10 --tcp 873", "passes"},
		{"--out --to 192.168.2.10 --tcp 445", "dropped"},
		{"--out --to 192.168.2.77 --tcp 443", "dropped"},
		{"--out --to 203.0.113.9 --tcp 443", "passes"},
	} {
		if got := sh.run("macvtap-filter explain --vm web " + c.frame); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s; want %s", c.frame, strings.SplitN(got, "\n", 2)[0], c.want)
		}
	}
}

var attackSum = regexp.MustCompile("(?m)^\\| .* \\| `[a-z0-9-]+` \\| (\\d+) \\| (\\d+) \\| (\\d+) \\| (\\d+) \\|$")

// The READMEs say as many attacks and frames as the page of attacks has.
func TestReadmeCountsAttacks(t *testing.T) {
	table, err := Block("attacks.md", "attacks by reason")
	if err != nil {
		t.Fatal(err)
	}
	var sums [4]int
	for _, row := range attackSum.FindAllStringSubmatch(table, -1) {
		for i := range sums {
			n, err := strconv.Atoi(row[i+1])
			if err != nil {
				t.Fatal(err)
			}
			sums[i] += n
		}
	}
	attacks, frames, arrive := sums[0], thousands(sums[1]), sums[3]
	if sums[1] != sums[2] || attacks == 0 {
		t.Fatalf("%d attacks; of their %d frames %d arrive without rules: the READMEs say that all do", attacks, sums[1], sums[2])
	}
	for file, want := range map[string]string{
		"README.md":       fmt.Sprintf("%d attacks were sent through a live macvtap NIC. Without rules all of their %s frames arrive; with the default policy %d do", attacks, frames, arrive),
		"README.zh-CN.md": fmt.Sprintf("%d 种攻击真实地经过活的 macvtap 网卡发出。没有规则时，它们的 %s 个帧全部到达；用默认策略，只有 %d 个到达", attacks, frames, arrive),
	} {
		page, err := os.ReadFile(moduleRoot + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), want) {
			t.Errorf("%s does not say: %s", file, want)
		}
	}
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// The list of pages has every page that it stands beside.
func TestIndex(t *testing.T) {
	index := readPage(t, "README.md")
	listed := map[string]bool{"README.md": true}
	for _, link := range index.links {
		listed[link] = true
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".md") && !listed[name] {
			t.Errorf("internal/doc/README.md does not list %s", name)
		}
	}
}
