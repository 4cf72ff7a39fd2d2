// Package tutorial follows the page internal/doc/tutorial.md literally, on a clean machine: what the page says is typed,
// on the host at a terminal and in a guest under libvirt, and what comes of it is compared with what the page says that
// comes of it. The tests stand behind the build tag e2e; `make e2e` runs them, and
//
//	go test -tags e2e ./internal/e2e/tutorial -update
//
// writes into the page what really came, and internal/doc/tutorial.txt, the whole of what was typed and answered.
package tutorial
