// Package kernel tests what clockd does to a real kernel's clock: the built program with `discipline = "realtime"` in a User-mode Linux
// guest, whose clock is its own, in simulated time. Nothing here ever writes to the clock of the machine that runs the tests: the
// guest's half refuses to run anywhere but as process 1 of a User-mode Linux kernel.
//
// `make test-kernel` builds that kernel (scripts/uml-kernel) and runs the tests; they have the build tag kernel.
package kernel
