package config

import _ "embed"

// Reference is a configuration file that explains every key. It is a right one
// by itself, in which everything but parents has its default.
//
//go:embed reference.toml
var Reference string
