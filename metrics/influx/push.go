package influx

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Pusher writes points that are there already, and waits until InfluxDB has them: for programs that end when they are done. It may be
// used by several goroutines.
type Pusher struct {
	client  *client
	jitter  func() float64
	pauses  [2]time.Duration
	mu      sync.Mutex
	written uint64
}

// pushPatience is how long a server may be away.
const pushPatience = time.Minute

// NewPusher reads the target's files; it asks nobody. jitter returns random numbers from 0 to 1.
func NewPusher(t Target, jitter func() float64) (*Pusher, error) {
	c, err := newClient(t, nil)
	if err != nil {
		return nil, err
	}
	return &Pusher{client: c, jitter: jitter, pauses: [2]time.Duration{firstPause, 10 * time.Second}}, nil
}

// Full reports whether there are as many points as are well pushed at once.
func (l *Lines) Full() bool { return l.Count >= 5*DefaultBatch || len(l.Bytes()) >= maxBatchBytes }

// Push writes the points, and empties l. A server that is away is tried again for a minute; what it says of a token, of a bucket that
// is not there and of points that it refuses is an error at once.
func (p *Pusher) Push(ctx context.Context, l *Lines) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer l.Reset()
	malformed := l.Malformed
	for n, began := 1, time.Now(); l.Count > 0; n++ {
		d, err := p.client.deliver(ctx, l.Bytes())
		if err == nil {
			p.written += d.written
			if d.lost > 0 {
				return fmt.Errorf("influx: %d of %d points are refused: %s", d.lost, d.lost+d.written, d.why)
			}
			break
		}
		var wait *waitError
		if !errors.As(err, &wait) || wait.lasting || ctx.Err() != nil || time.Since(began) > pushPatience {
			return fmt.Errorf("influx: %s takes no points: %w", p.client.target.URL, err)
		}
		timer := time.NewTimer(max(backOff(p.pauses, n, p.jitter()), wait.after))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("influx: %s takes no points: %w", p.client.target.URL, err)
		}
	}
	if malformed > 0 {
		return fmt.Errorf("influx: %d points could not be written as lines", malformed)
	}
	return nil
}

// Written returns how many points the server has taken.
func (p *Pusher) Written() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

// Close ends the connection.
func (p *Pusher) Close() { p.client.close() }
