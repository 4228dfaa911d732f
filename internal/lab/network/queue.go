package network

// parcel is a packet on its way.
type parcel struct {
	due    int64  // nanoseconds of the monotonic clock
	taken  int64  // when it came
	serial uint64 // among those due at once, the first that came goes first
	outlet *outlet
	packet []byte
}

// queue is a heap of parcels, the next one first.
type queue struct {
	parcels []parcel
	serial  uint64
	bytes   int
}

func (q *queue) push(p parcel) {
	q.serial++
	p.serial = q.serial
	q.bytes += cap(p.packet)
	q.parcels = append(q.parcels, p)
	h := q.parcels
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !sooner(&h[i], &h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *queue) pop() parcel {
	h := q.parcels
	first := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = parcel{} // its packet may be reused or freed
	h = h[:last]
	q.parcels = h
	q.bytes -= cap(first.packet)
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return first
		}
		if child+1 < len(h) && sooner(&h[child+1], &h[child]) {
			child++
		}
		if !sooner(&h[child], &h[i]) {
			return first
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func sooner(a, b *parcel) bool { return a.due < b.due || a.due == b.due && a.serial < b.serial }
