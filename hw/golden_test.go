package hw

// golden is what the counter of TestSkewedGolden reads so many ticks after its start, as computed by a second program that was
// written from the description alone (Python, unbounded integers).
var golden = map[int64]Ticks{
	-5000000000:   1<<64 - 5000089611,
	0:             67890,
	1:             67891,
	2147483647:    2147621330,
	2147483648:    2147621331,
	259612000000:  259620572237,
	9999999999999: 10000294760198,
}
