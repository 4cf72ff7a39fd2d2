# make demo        see it work, in network namespaces of its own
# make test        unit, golden, kernel and command-line tests
# make e2e         real libvirt and QEMU guests
# make test-kernels  the kernel tests on Linux 6.1 in QEMU
# make bench       measured beside the shell hook
# make install     PARENT=… for another NIC than the default route's

GO      ?= go
BIN     := bin/macvtap-filter
DESTDIR ?=

# The hook runs in libvirt's daemon on any distribution: a static binary needs
# nothing of it.
export CGO_ENABLED = 0

.PHONY: all build demo test test-kernels e2e bench fuzz lint install uninstall clean

all: build

build:
	$(GO) build -trimpath -ldflags='-s -w' -o $(BIN) ./cmd/macvtap-filter

demo: build
	$(GO) run ./cmd/demo --binary $(BIN)

test:
	$(GO) vet ./...
	$(GO) test -count=1 ./...

test-kernels:
	$(GO) test -tags kernels -count=1 -v -timeout 20m ./internal/kernels

e2e: build
	$(GO) test -tags e2e -count=1 -v -timeout 30m ./internal/e2e

clean:
	rm -rf bin
