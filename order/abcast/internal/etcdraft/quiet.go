package etcdraft

import (
	"fmt"

	"go.etcd.io/raft/v3"
)

// Quiet returns a logger for raft that says nothing: what raft has to say, the engine's status and counters say.
func Quiet() raft.Logger { return quiet{} }

type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}

// Fatal and Panic must not return; Guard catches them.
func (quiet) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }     //nolint:forbidigo // raft must be stopped here; Guard catches it
func (quiet) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) } //nolint:forbidigo // as above
func (quiet) Panic(v ...any)            { panic(fmt.Sprint(v...)) }     //nolint:forbidigo // as above
func (quiet) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) } //nolint:forbidigo // as above
