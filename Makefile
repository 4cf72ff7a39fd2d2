# make demo          see it work, in network namespaces of its own
# make test          unit tests, golden rulesets, frames on a tap, command lines
# make e2e           real libvirt and QEMU guests; the service under a real systemd
# make test-kernels  the kernel tests on Linux 6.1 in QEMU, or on KERNELS='6.1 6.12'; SHORT=-short tries less
# make test-nft      what nft lists loads again, with the nft of Debian's NFT='trixie sid'
# make soak          over a million random frames, judged and sent; a thousand of
#                    everything that could open an interface, leaks counted
# make bench         measured beside the shell hook and an earlier build
# make install       for the NIC of the default route, or PARENT=…
# make pictures      the README's, from what the programs print
# make packages      a .deb and an .rpm, in bin/packages
# make release       packages for ARCHES, source, bills of materials, checksums, in bin/release
# make release-check made twice, in different folders: the same

GO      ?= go
BIN     := bin/macvtap-filter
DESTDIR ?=
PARENT  ?=
KERNELS ?= 6.1
NFT     ?= trixie sid
comma   := ,

HOOK    := $(DESTDIR)/etc/libvirt/hooks/qemu.d/macvtap-filter
NETWORK := $(DESTDIR)/etc/libvirt/hooks/network.d/macvtap-filter
LINK    := $(DESTDIR)/usr/local/sbin/macvtap-filter
CONFIG  := $(DESTDIR)/etc/macvtap-filter/config.toml
UNIT    := $(DESTDIR)/usr/local/lib/systemd/system/macvtap-filter-watch.service
SHARE   := $(DESTDIR)/usr/local/share

LINTER    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# Counted, not timed: at the end of a time, "go test" now and then takes its own
# deadline for a failure (golang/go issue 75804, cured in Go 1.27).
FUZZTIME  ?= 100000x
BENCHTIME ?= 1s
# What "make bench" measures this build beside: the last one with a table per device.
BEFORE ?= 7eb0768
# Ends what hangs, and decides nothing else: a busy machine is no failure.
TIMEOUT   ?= 3h

# libvirt's daemon runs the hook on any distribution: a static binary needs
# nothing of it.
export CGO_ENABLED = 0

.PHONY: all build demo test test-kernels test-nft e2e soak bench benchmarks before fuzz lint pictures packages release release-check install uninstall clean

all: build

# git says the version, for go asks it only where it trusts who owns the checkout: with
# sudo, and in a container, it would fail.
VERSION ?= $(shell sh internal/packaging/version.sh)

build:
	$(GO) build -trimpath -buildvcs=false -ldflags='-s -w -X main.release=$(VERSION)' -o $(BIN) ./cmd/macvtap-filter

# What is missing is installed first, or named: go cannot even fetch modules without
# certificates. DEMO=--rules prints the rules, too.
demo:
	@GO='$(GO)' .ci/packages demo
	@$(MAKE) --no-print-directory build
	@$(GO) run ./cmd/demo --binary $(BIN) $(DEMO)

# With CI set, a test that cannot run fails.
test: export CI := true
test:
	@test "$$(id -u)" = 0 || { echo "make test needs root, for network namespaces and tap devices: sudo make test GO=\"$$(command -v $(GO))\"" >&2; exit 1; }
	@GO='$(GO)' .ci/packages test
	@$(MAKE) --no-print-directory build
	$(GO) vet -tags e2e,kernels ./...
	$(MAKE) --no-print-directory fuzz
	$(GO) test -count=1 -timeout $(TIMEOUT) ./...

# Each fuzz target alone, as "go test" demands.
fuzz:
	@for package in $$(grep -rl '^func Fuzz' --include='*_test.go' internal cmd | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$package/*_test.go | cut -d' ' -f2); do \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$package || exit 1; \
	  done; \
	done

# The long runs: random frames through a tap, and what the evaluator says of them;
# devices plugged in while their VMs send; hooks of many VMs at once.
soak: build
	MACVTAP_FILTER_ROUNDS=1000 $(GO) test -count=1 -v -timeout $(TIMEOUT) ./internal/leaks
	MACVTAP_FILTER_FRAMES=100000 $(GO) test -count=1 -v -timeout $(TIMEOUT) -run TestJudgeAgreesWithTheKernel ./internal/judge
	MACVTAP_FILTER_FRAMES=20000 $(GO) test -count=1 -v -timeout $(TIMEOUT) -run TestFormulaJudges ./internal/prove
	MACVTAP_FILTER_POLICIES=300 MACVTAP_FILTER_SEED=$${MACVTAP_FILTER_SEED:-1} $(GO) test -count=1 -v -timeout $(TIMEOUT) -run TestRandomPolicies ./internal/prove
	MACVTAP_FILTER_PLUGS=1000 $(GO) test -count=1 -v -timeout $(TIMEOUT) -run '^TestGuard$$' ./internal/kernel
	MACVTAP_FILTER_DEVICES=500 $(GO) test -tags e2e -count=1 -v -timeout $(TIMEOUT) -run '^TestIdle' ./internal/e2e/service
	MACVTAP_FILTER_VMS=250 $(GO) test -count=1 -v -timeout $(TIMEOUT) -run '^TestHooksAtOnce$$' ./cmd/macvtap-filter

# Debian has 5.10, 6.1, 6.12, and most from 6.16 on; emulated, a kernel takes most of an hour,
# with SHORT=-short a quarter of that.
test-kernels:
	MACVTAP_FILTER_KERNELS='$(KERNELS)' $(GO) test -tags kernels -count=1 -v $(SHORT) -timeout $$((3 * $(words $(KERNELS))))h ./internal/kernels

# Each takes a minute to install, into a folder of its own.
test-nft:
	@roots=$$(mktemp -d); trap 'rm -rf "$$roots"' EXIT; list=; \
	for suite in $(NFT); do \
	  debootstrap --variant=minbase --include=nftables $$suite "$$roots/$$suite" >"$$roots/log" 2>&1 || { cat "$$roots/log" >&2; exit 1; }; \
	  list="$$list:$$roots/$$suite"; \
	done; \
	MACVTAP_FILTER_NFT="$${list#:}" $(GO) test -count=1 -v -timeout $(TIMEOUT) -run '^TestListingLoadsAgain$$' ./internal/kernel

e2e: build packages
	$(GO) test -tags e2e -count=1 -v -p 1 -timeout $(TIMEOUT) ./internal/e2e/... ./cmd/bench

# BENCH='--only frames --rounds 5' measures less, --update writes internal/doc/measurements.md
# and plots. What is in bin/bench*.txt benchstat compares with another day's.
bench: build before
	$(GO) run ./cmd/bench --binary $(BIN) $$(test ! -e $(BIN)-before || echo --before $(BIN)-before) --out bin/bench.txt $(BENCH)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... >bin/bench-packages.txt || { cat bin/bench-packages.txt; exit 1; }
	@echo "each round is in bin/bench.txt, the packages' own benchmarks are in bin/bench-packages.txt: benchstat reads both"

before:
	@set -e; rm -f $(BIN)-before; \
	if ! git cat-file -e '$(BEFORE)^{commit}' 2>/dev/null; then \
	  echo "the commit $(BEFORE) is not in this clone: there is no build before to measure beside" >&2; exit 0; \
	fi; \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	git archive '$(BEFORE)' | tar -x -C "$$folder"; \
	$(GO) -C "$$folder" build -trimpath -buildvcs=false -ldflags='-s -w' -o "$(CURDIR)/$(BIN)-before" ./cmd/macvtap-filter; \
	echo "built $(BIN)-before from the commit $(BEFORE)"

# Each benchmark of a package, once: that it still works.
benchmarks:
	$(GO) test -run '^$$' -bench . -benchtime 1x ./internal/...

lint:
	$(GO) run $(LINTER) run

pictures: build
	@GO='$(GO)' sh internal/doc/pictures.sh

# VERSION, OUT and MAINTAINER of the command line are in the environment.
packages:
	@GO='$(GO)' MAKE='$(MAKE)' sh internal/packaging/build.sh

# ARCHES='amd64 arm64' makes less.
release:
	@GO='$(GO)' MAKE='$(MAKE)' sh internal/packaging/release.sh

release-check:
	@GO='$(GO)' sh internal/packaging/release-check.sh

# What the packages' maintainer scripts do, too. The parent of the first
# configuration is PARENT, or the NIC of the default route.
SETUP = . internal/packaging/setup.sh; . internal/packaging/files.sh;

# With sudo, go is often not on PATH: then what was built before is installed. A parent
# is looked for on this host, unless it is another's image that is installed.
install:
	@if command -v $(GO) >/dev/null; then \
	  $(MAKE) --no-print-directory build; \
	elif test -x $(BIN); then \
	  echo "$(GO) is not on PATH: installing $(BIN) as it is"; \
	else \
	  echo "$(GO) is not on PATH, and $(BIN) is not there: run make first, as somebody who has Go, or: make install GO=/usr/local/go/bin/go" >&2; exit 1; \
	fi
	@set -e; $(SETUP) \
	if test -n "$(PARENT)" && test -z "$(DESTDIR)"; then check_parent "$(PARENT)"; fi; \
	if test -e "$(CONFIG)"; then \
	  echo "kept the configuration $(CONFIG)$(if $(PARENT),: its parents count$(comma) not PARENT)"; \
	else \
	  parent="$(PARENT)"; \
	  test -n "$$parent" || { parent=$$(default_nic); test -z "$$parent" || check_parent "$$parent"; }; \
	  test -n "$$parent" || { echo "no default route: say which NIC the VMs are on, as in: make install PARENT=eth0" >&2; exit 1; }; \
	  write_config internal/config/reference.toml "$(CONFIG)" "$$parent"; \
	  echo "wrote the configuration $(CONFIG) for VMs on $$parent"; \
	fi
	@# A VM may start meanwhile: it finds the old hook or the new one, whole, and no
	@# other.
	@set -e; $(SETUP) \
	daemon=$$(libvirt_pid); \
	restart=no; \
	if test -n "$$daemon" && ! runs_hooks "$$daemon" "$(DESTDIR)/etc/libvirt/hooks"; then restart=yes; fi; \
	networks=$$(lacks_networks "$(DESTDIR)/etc/libvirt/hooks"); \
	install -d -m 0755 "$(dir $(HOOK))" "$(dir $(NETWORK))" "$(dir $(LINK))" "$(dir $(UNIT))"; \
	new=$$(dirname "$(dir $(HOOK))")/.macvtap-filter.new; \
	install -m 0755 $(BIN) "$$new"; \
	mv -f "$$new" "$(HOOK)"; \
	ln -sfn ../qemu.d/macvtap-filter "$(NETWORK)"; \
	ln -sfn /etc/libvirt/hooks/qemu.d/macvtap-filter "$(LINK)"; \
	install -m 0644 cmd/macvtap-filter/macvtap-filter-watch.service "$(UNIT)"; \
	put_shared "$(SHARE)" zsh/site-functions; \
	echo "installed the hook $(HOOK), a link to it, $(LINK), the service $(UNIT), and manual pages and completions in $(SHARE)"; \
	tell_restart "$$daemon" $$restart "$$networks"; \
	echo "then keep hot-plugged and flushed interfaces closed, too: systemctl daemon-reload && systemctl enable --now macvtap-filter-watch"; \
	echo "or at least put running VMs in step: macvtap-filter apply --all"

# The service would run on without its file, and systemd would go on looking for it.
uninstall:
	@if test -z "$(DESTDIR)" && { systemctl --quiet is-active macvtap-filter-watch || systemctl --quiet is-enabled macvtap-filter-watch; } 2>/dev/null; then \
	  echo "the service is running or enabled; first: systemctl disable --now macvtap-filter-watch" >&2; exit 1; \
	fi
	rm -f "$(HOOK)" "$(NETWORK)" "$(LINK)" "$(UNIT)"
	@$(SETUP) remove_shared "$(SHARE)" zsh/site-functions
	rm -f "$(DESTDIR)/var/lib/macvtap-filter/tested"
	@echo "VMs start open to the local network from now on: nothing filters them any more"
	@echo "left as they are: $(CONFIG) and the rules of running VMs; \"nft list tables netdev\" shows these"

clean:
	rm -rf bin
