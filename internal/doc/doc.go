// Package doc holds pages for people, and the tests of them: that the links of all the project's pages lead somewhere. What
// the tutorial shows is typed by the package internal/e2e/tutorial.
// see to it that the links of all the project's pages lead somewhere, and that
// commands answer as the pages say.
package doc
