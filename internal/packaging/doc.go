// Package packaging holds what makes the .deb and .rpm packages of "make packages":
// nfpm's description of them, the manual pages, the completions of shells, and the
// maintainer scripts. In Go there are only tests of that.
package packaging
