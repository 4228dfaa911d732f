// Package privileges takes from the process what a clock does not need, once it has started and before it reads the first packet.
//
// Limit keeps the capabilities that are named and gives up all others for good, whoever the user is: what cannot be had again cannot be
// abused. Confine lets the kernel refuse every system call that is not on the list (seccomp). Neither can be undone. Both act on all
// threads of the process, so only a program may call them, never a library or a test of one.
//
// Sources: capabilities(7), seccomp(2). libcap's and elastic's packages do the work.
package privileges
