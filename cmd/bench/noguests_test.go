//go:build !e2e

package main

// withGuests says that sections are tried that boot a guest, for which a kernel may
// have to be fetched. Only make e2e does so.
const withGuests = false
