package config

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	var long strings.Builder
	long.WriteString("parents = [\"enp88s0\"]\n[policy.default]\nallow = [\n")
	for i := range 10_000 {
		fmt.Fprintf(&long, "\"192.168.%d.%d\",\n", 100+i/250, 1+i%250)
	}
	long.WriteString("]\n")
	for _, c := range []struct{ name, text string }{
		{"least", "parents = [\"enp88s0\"]\n"},
		{"reference", Reference},
		{"hosts=10000", long.String()},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse("config.toml", []byte(c.text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
