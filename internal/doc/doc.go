// Package doc holds pages for people, and the test that the links of all the project's pages lead somewhere.
package doc
