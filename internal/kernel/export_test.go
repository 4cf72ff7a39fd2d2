package kernel

// UsePrefixes has guards programmed with prefixes, or with their names spelled out,
// whatever nft is here, until undo is called.
func UsePrefixes(use bool) (undo func()) {
	prefixes.once.Do(func() {})
	before := prefixes.read
	prefixes.read = use
	return func() { prefixes.read = before }
}
