package abcast

import (
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// engines are the protocols that the suite runs over.
func engines() map[string]engine {
	return map[string]engine{"tsab": TSAB, "raft-log": RaftLog, "sequencer": Sequencer}
}

// suite is what every engine must do.
func suite() map[string]func(*testing.T, engine) {
	return map[string]func(*testing.T, engine){
		"AllDeliverTheSame":            allDeliverTheSame,
		"CanceledBroadcastsAndReads":   canceledBroadcastsAndReads,
		"RestartWithDisk":              restartWithDisk,
		"JoinerWithSnapshot":           joinerWithSnapshot,
		"RemovedMemberStops":           removedMemberStops,
		"Partition":                    partition,
		"RollingRestart":               rollingRestart,
		"FullDiskStopsOneMember":       fullDiskStopsOneMember,
		"DamagedDiskIsRefused":         damagedDiskIsRefused,
		"SlowConsumer":                 slowConsumer,
		"KeysAndSizes":                 keysAndSizes,
		"ConsumersComeAndGo":           consumersComeAndGo,
		"ConfigurationsThatAreRefused": configurationsThatAreRefused,
	}
}

// timestamps is what only an engine that orders by time does.
func timestamps() map[string]func(*testing.T, engine) {
	return map[string]func(*testing.T, engine){
		"WrongClocks":           wrongClocks,
		"EarlyAndTimeTriggered": earlyAndTimeTriggered,
	}
}

// TestSuite runs everything side by side, because most of it waits, and leaves no goroutine behind.
func TestSuite(t *testing.T) {
	testkit.NoLeaks(t)
	run := func(e engine, cases map[string]func(*testing.T, engine)) func(*testing.T) {
		return func(t *testing.T) {
			for name, f := range cases {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f(t, e)
				})
			}
		}
	}
	for name, e := range engines() {
		t.Run(name, run(e, suite()))
	}
	t.Run("timestamps", run(TSAB, timestamps()))
}
