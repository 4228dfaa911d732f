package clocktest_test

import (
	"fmt"
	"time"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// printer stands for the *testing.T of a test.
type printer struct{}

func (printer) Helper()                           {}
func (printer) Errorf(format string, args ...any) { fmt.Printf("FAIL: "+format+"\n", args...) }

// A program that stamps its records is tested on a host that is paused for a while. In a test of your own, printer{} is t, and the world may be
// clocktest.New inside of synctest.Test.
func ExampleChecker() {
	world := clocktest.NewManual(clocktest.Options{})
	host := world.Host(clocktest.HostOptions{Name: "db1", Script: []clocktest.Event{
		clocktest.Drift(0, 30),
		clocktest.Disrupt(5*time.Second, time.Second, reason.HostPaused),
	}})
	checker := world.Check(printer{})

	careless := func() { checker.Stamps(host, host.Read().Time) }
	stamper := order.NewStamper(host, 0, 1)
	careful := func() {
		if s, err := stamper.Stamp(); err == nil {
			checker.Stamps(host, s.Latest)
		} else {
			fmt.Println("refused:", err)
		}
	}
	world.Advance(2 * time.Second)
	careless()
	careful()
	world.Advance(3500 * time.Millisecond)
	careless()
	careful()
	// Output:
	// FAIL: after 5.5s: the program stamps an event on db1 although its clock was disrupted when it was asked last (host paused: the virtual machine was paused, restored or migrated)
	// refused: order: cannot stamp an event: the clock is disrupted: host paused: the virtual machine was paused, restored or migrated
}
