#!/usr/bin/env bash
# gophersat's package bf, formulas with variables, takes what consists of constants for the contrary: And(True) and Eq(True, True)
# have no model, Or(False) and Implies(True, False) have one. As a part they turn the whole round: Eq(a, And(True)) is
# solved by a = false. True and False by themselves are right, and so is a constant beside a variable, And(a, True). What
# simplifies a conjunction takes every "true" out of it, and takes one that is left without any part for false, and
# a disjunction without any for true.
#
# Why it matters: formulas that programs make have such parts: a condition that is always so for this input, a list of
# constraints of which all turned out to hold. "Unsatisfiable" is then the proof that something cannot happen.
# Leave constants out before the formula is made; the package solver, with clauses of numbers, is not concerned.
#
# Source: gophersat's bf/bf.go (nnf of "and" and of "or", against Eval, which is right about And(True)).
# Needs go and its module proxy.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	. "github.com/crillab/gophersat/bf"
)

func main() {
	a := Var("a")
	failed := false
	for _, f := range []struct {
		name       string
		formula    Formula
		has, known bool // a model
	}{
		{"True", True, true, true},
		{"And(a, True)", And(a, True), true, true},
		{"And(True)", And(True), true, false},
		{"And(True, True)", And(True, True), true, false},
		{"Eq(True, True)", Eq(True, True), true, false},
		{"And(a, Or(a, True), And(True))", And(a, Or(a, True), And(True)), true, false},
		{"False", False, false, false},
		{"And(a, False)", And(a, False), false, false},
		{"Or(False)", Or(False), false, true},
		{"Implies(True, False)", Implies(True, False), false, true},
	} {
		seen := Solve(f.formula) != nil
		fmt.Printf("%-31s has a model: expected: %-5t seen: %t\n", f.name, f.has, seen)
		failed = failed || seen != f.known
	}
	model := Solve(Eq(a, And(True)))
	fmt.Printf("%-31s expected: a=true; seen: a=%t\n", "Eq(a, And(True))", model["a"])
	if value, there := model["a"]; failed || !there || value {
		os.Exit(1)
	}
}
GO
go mod init finding 2>/dev/null
timeout 120 go get github.com/crillab/gophersat@v1.4.0 2>/dev/null
go list -m github.com/crillab/gophersat
timeout 120 go run .
