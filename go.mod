module macvtap-filter

go 1.26.0

require (
	github.com/agnivade/levenshtein v1.2.2 // which VM a mistyped name means
	github.com/beevik/etree v1.8.1 // domain XML; prescribed
	github.com/cavaliergopher/cpio v1.0.1 // tests: initramfs
	github.com/coreos/go-systemd/v22 v22.7.0 // the journal's fields; small, systemd's own
	github.com/creack/pty v1.1.24 // tests: a terminal to type the tutorial at; everybody's, no dependencies
	github.com/crillab/gophersat v1.4.0 // tests: decides formulas over all frames; pure Go, so that nothing is to be installed, no dependencies
	github.com/digitalocean/go-libvirt v0.0.0-20261013170128-efbbdf578ac8 // tests: libvirt's protocol by another hand than ours; it costs each hook call crypto/tls and ssh
	github.com/fsnotify/fsnotify v1.9.0 // watch: changed files; everybody's, one dependency that is here already
	github.com/google/go-cmp v0.7.0 // tests: diffs
	github.com/google/nftables v0.3.1-0.20251119083706-1db35da82052 // nftables messages; prescribed. This commit and not v0.3.0, which silently stores 1,808 of 10,000 set elements and reports ENOBUFS for batches that were applied
	github.com/gopacket/gopacket v1.7.7 // tests and demo: frames by another hand than ours; too slow to start for the hook
	github.com/jedib0t/go-pretty/v6 v6.8.3 // demo and bench: tables
	github.com/mdlayher/netlink v1.11.2 // the transaction's own socket: google/nftables' transport, used directly for what it cannot say
	github.com/pelletier/go-toml/v2 v2.4.3 // config.toml: positions of keys, no dependencies, well kept
	github.com/rivo/uniseg v0.4.7 // status: how wide names of any script are on a terminal; it does nothing before main, unlike mattn/go-runewidth (65 µs) and all that build on that
	github.com/rogpeppe/go-internal v1.16.0 // verify: diffs, in n log n steps however many rules there are; tests: testscript
	github.com/vishvananda/netlink v1.3.1 // links, addresses, routes; prescribed
	github.com/yuin/goldmark v1.8.7 // tests: the links of pages; Markdown as GitHub reads it, no dependencies
	go4.org/netipx v0.0.0-20260823151212-3075585bcbeb // merging prefixes and ranges; the kernel's sets refuse overlaps
	golang.org/x/net v0.59.0 // tests and demo: ICMP
	golang.org/x/sys v0.49.0 // constants and system calls
)

require (
	github.com/cilium/ebpf v0.22.0 // bench: the same policy in BPF, the road not taken; tests: an agent's program; Cilium's own
	golang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da // bench: benchstat's own reader and writer of results
	gonum.org/v1/plot v0.17.0 // bench: plots in SVG, with quartiles and logarithmic axes; well kept, pure Go
)

require (
	github.com/prometheus/client_golang v1.23.2 // tests: its linter of metrics
	github.com/prometheus/client_model v0.6.2 // tests: what its parser gives
	github.com/prometheus/common v0.66.1 // tests: its parser of metrics; the program writes them itself, since what the library initialises would delay every hook call
)

require github.com/VictoriaMetrics/metricsql v0.84.8 // tests: reads PromQL, with a hundredth of what Prometheus itself needs

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	codeberg.org/go-pdf/fpdf v0.11.1 // indirect
	git.sr.ht/~sbinet/gg v0.7.0 // indirect
	github.com/VictoriaMetrics/metrics v1.35.3 // indirect
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/mdlayher/socket v0.6.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/valyala/fastrand v1.1.0 // indirect
	github.com/valyala/histogram v1.2.0 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/image v0.46.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
	google.golang.org/protobuf v1.36.8 // indirect
)
