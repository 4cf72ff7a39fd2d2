// Package packaging holds what makes the .deb and .rpm packages of "make packages":
// the files that are in them, which "make install" puts, too, the manual pages, the
// completions of shells, and the maintainer scripts. In Go there are only tests of that.
package packaging
