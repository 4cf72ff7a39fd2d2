// Package prove says what rules do with every frame at once: a table of package ruleset
// becomes a formula over the bytes and the length of any frame, as package judge judges one,
// and whatever is in the sets that change. So a property is not tried with some frames but
// decided for all of them, by a solver of propositional formulas.
package prove
