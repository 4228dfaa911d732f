package clocktest

import "time"

// processTime returns a clock of the process' time: 0 now. In a bubble of testing/synctest it is the bubble's.
func processTime() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// breathe lets the time of a bubble of testing/synctest pass for a program that looks at the clock without ever sleeping.
func breathe() { time.Sleep(time.Microsecond) }
