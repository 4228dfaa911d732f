// Command clockd keeps a virtual clock on this host, synchronised by NTP, that always knows how wrong it can be.
//
// `clockd run` is the daemon; the other commands ask it, read its shared page, or do something by themselves (query, check,
// replay, doctor). `clockd help` lists them, docs/cli.md describes them with their exit codes.
package main
