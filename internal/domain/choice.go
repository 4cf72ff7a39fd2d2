package domain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

// parseChoice reads the domain's own choice, nil when there is none. It is strict:
// what is not understood may have been meant to close something.
func parseChoice(root *etree.Element) *Choice {
	var found *Choice
	for _, metadata := range children(root, "metadata") {
		for _, e := range metadata.ChildElements() {
			if e.NamespaceURI() != Namespace {
				continue
			}
			if found != nil {
				return &Choice{Err: errors.New("metadata: two elements of ours, want one <filter>")}
			}
			found = &Choice{}
			if err := found.read(e); err != nil {
				return &Choice{Err: fmt.Errorf("metadata: %w", err)}
			}
		}
	}
	return found
}

func (c *Choice) read(e *etree.Element) error {
	if e.Tag != "filter" {
		return fmt.Errorf("<%s> is unknown in the namespace %s, want <filter>", e.Tag, Namespace)
	}
	for _, a := range e.Attr {
		switch {
		case a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns":
		case a.Space == "" && a.Key == "policy" && a.Value != "":
			c.Policy = a.Value
		default:
			return fmt.Errorf("<filter %s=%q>: want policy=\"NAME\"", a.FullKey(), a.Value)
		}
	}
	for _, child := range e.ChildElements() {
		if child.NamespaceURI() != Namespace || child.Tag != "allow" {
			return fmt.Errorf("<%s> in <filter>: want <allow>", child.FullTag())
		}
		c.Allow = append(c.Allow, strings.TrimSpace(child.Text()))
	}
	return nil
}
