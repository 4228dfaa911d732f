package hw

// ReadCNTVCT returns the virtual count of the generic timer, read after every earlier load has its value. It may be used once
// Open("cntvct") has succeeded in this process. On other architectures it returns 0, and Open refuses "cntvct".
func ReadCNTVCT() Ticks

// readCNTFRQ returns the counter's frequency in hertz as the firmware wrote it; 0 if it did not.
func readCNTFRQ() uint64

func cntvctHardware() error { return nil }
