package influx

import "testing"

// What the daemon's loop pays for an exchange while there is room in the queue.
func BenchmarkOffer(b *testing.B) {
	w := &Writer{options: Options{}.withDefaults(), queue: make(chan record, queueLength)}
	x := testExchange(0)
	b.ReportAllocs()
	for b.Loop() {
		if len(w.queue) == cap(w.queue) {
			b.StopTimer()
			for len(w.queue) > 0 {
				<-w.queue
			}
			b.StartTimer()
		}
		w.Exchange(x)
	}
}

// What the encoder's goroutine does for it.
func BenchmarkEncode(b *testing.B) {
	e := encoder{host: "h", last: map[series]newest{}}
	x := testExchange(0)
	b.ReportAllocs()
	for b.Loop() {
		if x.At.UnixNano++; e.lines.Full() {
			e.lines.Reset()
		}
		e.exchange(x)
	}
}
