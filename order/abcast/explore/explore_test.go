package explore

import (
	"fmt"
	"testing"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

func TestMut(t *testing.T) {
	for m := core.SmallAckQuorum; m <= core.AnswerWithoutMemory; m++ {
		start := time.Now()
		for seed := uint64(1); seed < 400; seed++ {
			if time.Since(start) > 20*time.Second {
				fmt.Println(m, "NOT FOUND in", seed)
				break
			}
			if r := Run(seed, Options{Mutation: m}); r.Violation != nil {
				fmt.Printf("%d found at %d: %.100s\n", m, seed, fmt.Sprint(r.Violation)[200:])
				break
			}
		}
	}
}
