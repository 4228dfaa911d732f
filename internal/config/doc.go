// Package config reads the daemon's configuration: one TOML file, strictly. An unknown key, a value of the wrong kind or out of
// range is a Problem with file, line, column and what would be right; all problems of a file are reported at once.
//
// Main types: Config (what the file says, defaults filled in), Problems (why a file is not a configuration), Paths (where the
// page, the socket and the state lie for this user).
//
// Invariants: Parse never panics and never returns both a Config and an error; a Config that Parse returns passes every range
// check, so the daemon need not repeat them. A value that was left out has its documented default.
//
// The format is described in docs/configuration.md, whose examples are tests of this package.
package config
