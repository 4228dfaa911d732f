package explore

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("S"), 10, 64)
	r := Run(seed, Options{Trace: os.Getenv("T") != ""})
	fmt.Printf("%+v\n", r)
}
