// Package hw reads the clocks and stamps that the hardware and the kernel offer: counters (TSC, CNTVCT_EL0,
// CLOCK_MONOTONIC_RAW), counters seen through a wrong oscillator (Skewed), cross-stamps between a counter and
// CLOCK_REALTIME, and packet stamps mapped onto the counter's timeline.
//
// Main types: Counter (Open, Choose, Probe), Ticks, Skewed, CrossReading, Stamp. A counter is used only if the CPU promises a
// constant rate and the kernel keeps time by it; its Spec makes every process of the host read the same. Invariants: Ticks of one Counter never go backwards while the host is not disrupted;
// a Stamp is always valid (theory 2.1): it may be wide, it is never false.
//
// Sources: Intel SDM vol. 3B 18.17 (invariant TSC), Arm ARM D11 (generic timer), Linux Documentation/networking/timestamping.rst.
package hw
