// Package doc holds pages for people, and what programs write into them. Its tests
// see to it that the links of all the project's pages lead somewhere, and that
// commands answer as the pages say.
package doc
