// Package reach says what a VM can send to and who can send to it, for every address, protocol
// and port, from the rules of its interface alone: each rule is applied to all frames of a
// kind at once, a set of them and not one after the other.
//
// A frame of such a kind (template) is an ordinary one: untagged, without IP options, whole.
// Its bytes are given but for three values, which are open: the peer's address, the port of
// the service, and that of who opens it. A match that asks for an open value in a way that the
// package does not know is an error.
package reach
