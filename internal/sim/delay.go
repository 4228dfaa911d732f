package sim

import (
	"math/rand/v2"

	"github.com/clockd/clockd/internal/delay"
)

// Delay is a distribution of delays, written as an expression such as "50us + exp(10us)"; see delay.Law.
type Delay struct{ delay.Law }

// DrawInstant returns one delay in picoseconds.
func (d *Delay) DrawInstant(r *rand.Rand) Instant { return Seconds(d.Draw(r)) }

// Constant returns the distribution that is always s seconds.
func Constant(s float64) Delay { return Delay{delay.Constant(s)} }

// ParseDelay reads an expression; an error says what is wrong and where.
func ParseDelay(text string) (Delay, error) {
	law, err := delay.Parse(text)
	return Delay{law}, err
}
