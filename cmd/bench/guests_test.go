//go:build e2e

package main

const withGuests = true
