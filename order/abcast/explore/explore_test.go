package explore

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestOne(t *testing.T) {
	n, _ := strconv.ParseUint(os.Getenv("N"), 10, 64)
	from, _ := strconv.ParseUint(os.Getenv("FROM"), 10, 64)
	steps, del, bad := 0, 0, 0
	for seed := from + 1; seed <= from+n; seed++ {
		r := Run(seed, Options{})
		if r.Violation != nil {
			fmt.Printf("BAD %.1200v\n", r.Violation)
			bad++
		}
		steps += r.Steps
		del += r.Deliveries
	}
	fmt.Println(steps, del, bad)
}
