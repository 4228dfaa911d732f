// Package delay has the laws by which packets are late, and the expressions in which people write them. The simulator draws from
// them, and so do the emulated links between real programs: an experiment is written in one language for both.
package delay
