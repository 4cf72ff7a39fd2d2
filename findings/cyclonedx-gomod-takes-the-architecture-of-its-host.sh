#!/usr/bin/env bash
# "cyclonedx-gomod bin" makes a bill of materials of a Go binary from what the compiler wrote into it, and the package URLs in it
# name the system and architecture of the environment that it runs in: of a binary for arm64 and Linux they say
# goarch=amd64 on an amd64 host, and whatever GOOS and GOARCH are set to. The binary's own GOARCH is in the same bill,
# among the properties of the main component.
#
# Why it matters: a release built for several architectures on one machine has bills that all name the same one; what looks
# up packages by their URL asks for another build than the one that is delivered. To set GOARCH for the call helps.
#
# Source: cyclonedx-gomod's internal/gomod/module.go (the package URL takes both from "go env"); Go's debug/buildinfo.
# Needs go and its module proxy.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset GOOS GOARCH
GOBIN=$dir timeout 300 go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 2>/dev/null
mkdir program
cd program
cat >main.go <<'GO'
package main

import _ "golang.org/x/sys/cpu"

func main() {}
GO
go mod init example.org/program 2>/dev/null
timeout 120 go get golang.org/x/sys@v0.49.0 2>/dev/null
for arch in amd64 arm64 riscv64; do GOOS=linux GOARCH=$arch CGO_ENABLED=0 timeout 300 go build -o ../$arch .; done
cd ..
# named gives the architectures in the package URLs of a bill of materials of a binary.
named() { ./cyclonedx-gomod bin -json "$1" 2>/dev/null | sed -n 's/.*"purl": .*goarch=\([a-z0-9]*\).*/\1/p' | sort -u | xargs; }
./cyclonedx-gomod version | head -n 1
host=$(go env GOARCH)
seen="$(named amd64) $(named arm64) $(named riscv64)"
set=$(GOARCH=s390x named arm64)
property=$(./cyclonedx-gomod bin -json arm64 2>/dev/null | grep -A 1 'build:env:GOARCH' | sed -n 's/.*"value": "\(.*\)".*/\1/p')
echo "expected: the URLs of binaries for amd64, arm64 and riscv64 name amd64 arm64 riscv64"
echo "seen:     $seen; of the one for arm64, with GOARCH=s390x set: $set; its property GOARCH: $property"
[ "$seen" = "$host $host $host" ]
[ "$set" = s390x ]
[ "$property" = arm64 ]
