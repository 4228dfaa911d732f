package result

// Format is what the first key of every result file says; FormatVersion changes when a key changes its meaning or goes. A new key
// alone makes a new version too, since the reader is strict: version n reads all versions up to n.
const (
	Format        = "clockd-result"
	FormatVersion = 1
)

// Mode is the command that made a result.
type Mode string

// The modes.
const (
	ModeSim     Mode = "sim"
	ModeLive    Mode = "live"
	ModeObserve Mode = "observe"
	ModeCompare Mode = "compare"
	ModeCourse  Mode = "course"
)

// Truth is how the time errors are known.
type Truth string

// The kinds of truth: exact where all clocks' true time is known (a simulation, hosts of one machine), estimated where it is not
// (real hosts): every figure has an uncertainty then.
const (
	TruthExact     Truth = "exact"
	TruthEstimated Truth = "estimated"
)

// Result is the file result.json. All keys are always there; what is missing is null or an empty list. All times are in seconds
// since the run began, in true time (or in the observer's, where there is no truth).
type Result struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	// Version is the program's (clockbench version), Command its words as they were given, without the program's name.
	Version string   `json:"clockd_version"`
	Command []string `json:"command"`
	Mode    Mode     `json:"mode"`
	// Title is one line for people.
	Title string `json:"title"`
	Truth Truth  `json:"truth"`
	// Began is the wall clock's time at the beginning (RFC 3339), null in a simulation.
	Began *string `json:"began"`
	// Length is how long the measurement lasted. Complete: it ended by itself and not by an interrupt or an error.
	Length   Number    `json:"length_s"`
	Complete bool      `json:"complete"`
	Scenario *Scenario `json:"scenario"`
	Seed     *uint64   `json:"seed"`
	// Machine is null in a simulation: the bytes do not depend on it.
	Machine *Machine `json:"machine"`
	// Notes are paragraphs for people: what the run shows, what to keep in mind.
	Notes  []string `json:"notes"`
	Clocks []Clock  `json:"clocks"`
	// Properties is the table of properties, in the order in which it is shown.
	Properties []Property  `json:"properties"`
	Checks     Checks      `json:"checks"`
	Violations []Violation `json:"violations"`
	Series     []Series    `json:"series"`
	Stability  []Curve     `json:"stability"`
	Histograms []Histogram `json:"histograms"`
	Rounds     []Round     `json:"rounds"`
	Events     []Event     `json:"events"`
	// Disagreement is null where nobody compared the clocks in pairs.
	Disagreement *Disagreement `json:"disagreement"`
	// Plots are further pictures that a mode has of its own, such as accuracy against round trip.
	Plots []Plot `json:"plots"`
}

// Scenario is what was run, with all that is needed to run it again.
type Scenario struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Source is the whole TOML file; null where there is none.
	Source *string `json:"source"`
	// AssumptionsHold: no interval may be wrong; null where nobody can know.
	AssumptionsHold *bool `json:"assumptions_hold"`
}

// Machine is where a real measurement was made.
type Machine struct {
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Kernel  string `json:"kernel"`
	Arch    string `json:"arch"`
	Counter string `json:"counter"`
}

// Role is what a clock is in the run.
type Role string

// The roles.
const (
	RoleHost   Role = "host"   // follows masters; its error is what matters
	RoleMaster Role = "master" // is followed
	RolePeer   Role = "peer"   // agrees with others
	RoleLiar   Role = "liar"   // is wrong on purpose, or two-faced
	RoleServer Role = "server" // an NTP server that somebody else runs
)

// Clock is one clock of the run. Its name is what series, events and so on call it by.
type Clock struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Correct: it keeps to the assumptions, so that its bounds must hold; null where nobody can know.
	Correct *bool `json:"correct"`
	// Program is what runs it: clockd, chronyd; "" if that is not known.
	Program string `json:"program"`
	// Address is where it was asked, "" without one.
	Address string `json:"address"`
}

// Known is how a property is known.
type Known string

// The ways to know a property.
const (
	KnownExact     Known = "exact"     // computed with the truth at all breakpoints
	KnownSampled   Known = "sampled"   // computed with the truth at the samples: a lower limit of a supremum
	KnownEstimated Known = "estimated" // without the truth: see the uncertainty
	KnownClaimed   Known = "claimed"   // what the clocks say of themselves
	KnownGiven     Known = "given"     // a parameter of the run
	KnownNot       Known = "unknown"   // see the reason
)

// Property is a row of the table of properties.
type Property struct {
	// Symbol is one of properties.md (π_v, δ_v, α_v, …) or "" for a figure that has none; Name is in words.
	Symbol string `json:"symbol"`
	Name   string `json:"name"`
	// Statistic is what of it: max (also the worst of a range), min, rms, mean, median, p99, count.
	Statistic string `json:"statistic"`
	// Subject is whose property it is: a clock, a program (clockd, chronyd) or "" for the whole run.
	Subject string `json:"subject"`
	Value   Number `json:"value"`
	// Uncertainty is a half-width around Value; null where the value is exact, or is not known.
	Uncertainty Number `json:"uncertainty"`
	// Unit is s, ppm, Hz, 1 (a ratio), count or %.
	Unit string `json:"unit"`
	// Bound is what theory promises, Formula how it is computed; null and "" where theory promises nothing.
	Bound   Number `json:"bound"`
	Formula string `json:"formula"`
	Known   Known  `json:"known"`
	// Reason says why the value is missing, "" where it is not.
	Reason string `json:"reason"`
}

// Checks counts the sound intervals that were compared with true time, and those that did not contain it.
type Checks struct {
	// Checked is null where there is no truth to compare with.
	Checked *uint64 `json:"intervals_checked"`
	Wrong   *uint64 `json:"intervals_wrong"`
	// Worst is how far true time was outside at the most.
	Worst Number `json:"worst_outside_s"`
}

// Violation is an interval that did not contain true time. The first ones are listed; Checks counts all.
type Violation struct {
	At    Number `json:"at_s"`
	Clock string `json:"clock"`
	// Outside is how far true time was below (negative) or above the interval, HalfWidth half the interval's length, Error the
	// clock − true time.
	Outside   Number `json:"outside_s"`
	HalfWidth Number `json:"halfwidth_s"`
	Error     Number `json:"error_s"`
	Status    string `json:"status"`
	Text      string `json:"text"`
}

// Quantity is what a series is of; it decides in which picture the series appears.
type Quantity string

// The quantities.
const (
	TimeError      Quantity = "time_error"      // clock − true time (or − the observer's best knowledge of it)
	IntervalLow    Quantity = "interval_low"    // the claimed interval's lower edge − true time: above 0 it is wrong
	IntervalHigh   Quantity = "interval_high"   // the claimed interval's upper edge − true time: below 0 it is wrong
	ClaimedBound   Quantity = "claimed_bound"   // half of the claimed interval's length
	Uncertainty    Quantity = "uncertainty"     // the half-width around a time error that was measured without truth
	FrequencyError Quantity = "frequency_error" // the clock's rate − 1, in ppm
	Delay          Quantity = "delay"           // one way, or there and back
	Precision      Quantity = "precision"       // greatest difference of two correct clocks
	PrecisionBound Quantity = "precision_bound" // what the clocks claim, or theory promises, of it
	Accuracy       Quantity = "accuracy"        // greatest |time error| of all correct clocks
	AccuracyBound  Quantity = "accuracy_bound"  // what the clocks claim, or theory promises, of it
)

// Series is a figure over time, decimated so that every extreme survives; the whole of it is in a CSV file.
type Series struct {
	Quantity Quantity `json:"quantity"`
	// Name is for people, and unique together with Clock and Peer.
	Name string `json:"name"`
	// Clock is whose it is, "" for the whole run; Peer is the other end of a link, "" without one.
	Clock string `json:"clock"`
	Peer  string `json:"peer"`
	Unit  string `json:"unit"`
	// File is the CSV file with the whole series, relative to the result, and Column the name of its column; "" without one.
	File   string `json:"file"`
	Column string `json:"column"`
	// Count is the number of samples that the series had before it was decimated.
	Count uint64 `json:"count"`
	// Times never decrease. A null among the values is a gap: there was no such figure then.
	Times  Column `json:"t_s"`
	Values Column `json:"value"`
}

// Statistic is a measure of stability.
type Statistic string

// The measures of stability (IEEE 1139, ITU-T G.810).
const (
	ADEV  Statistic = "adev"
	OADEV Statistic = "oadev"
	MDEV  Statistic = "mdev"
	TDEV  Statistic = "tdev"
	HDEV  Statistic = "hdev"
	MTIE  Statistic = "mtie"
	// EnvelopeRate is MTIE ÷ window: the envelope rate ρ_α that a window of that length shows.
	EnvelopeRate Statistic = "envelope_rate"
)

// Curve is a measure of stability against the observation interval τ.
type Curve struct {
	Statistic Statistic `json:"statistic"`
	Clock     string    `json:"clock"`
	// Unit is s for tdev and mtie, 1 for the others.
	Unit   string `json:"unit"`
	Tau    Column `json:"tau_s"`
	Values Column `json:"value"`
	// Counts are how many differences each value rests on.
	Counts []uint64 `json:"n"`
	// Low and High limit the confidence interval of the level Confidence; empty lists and null where it is not known.
	Low        Column `json:"low"`
	High       Column `json:"high"`
	Confidence Number `json:"confidence"`
}

// Direction is the way of a packet.
type Direction string

// The directions, seen from a histogram's clock.
const (
	DirectionTo        Direction = "to"   // from the clock to the peer
	DirectionFrom      Direction = "from" // from the peer to the clock
	DirectionRoundTrip Direction = "round_trip"
)

// Histogram is how often the delay of a link was in which class.
type Histogram struct {
	Name      string    `json:"name"`
	Clock     string    `json:"clock"`
	Peer      string    `json:"peer"`
	Direction Direction `json:"direction"`
	Unit      string    `json:"unit"`
	// Edges are the limits of the classes, one more than Counts: a class includes its lower edge.
	Edges  Column   `json:"edges"`
	Counts []uint64 `json:"counts"`
	// Min, Max and Mean are exact.
	Min  Number `json:"min"`
	Max  Number `json:"max"`
	Mean Number `json:"mean"`
}

// Round is a round of agreement.
type Round struct {
	Number uint64 `json:"number"`
	// At is when the last correct clock was done; Clock whose view it is, "" for the true one.
	At    Number `json:"at_s"`
	Clock string `json:"clock"`
	// Convergence is δ_v, Spread how far apart the correct clocks were just before, Epsilon the reading error ε, Bound what theory
	// promises of the convergence with that ε.
	Convergence Number `json:"delta_v_s"`
	Spread      Number `json:"spread_s"`
	Epsilon     Number `json:"epsilon_s"`
	Bound       Number `json:"bound_s"`
	// Used is how many readings went in.
	Used *int `json:"used"`
}

// EventKind is what an event is.
type EventKind string

// The kinds of events.
const (
	EventStatus  EventKind = "status"  // a clock's status changed
	EventFault   EventKind = "fault"   // something was broken on purpose
	EventRepair  EventKind = "repair"  // and repaired
	EventFinding EventKind = "finding" // something was noticed: a false server, a kiss-o'-death
	EventNote    EventKind = "note"
)

// Event is something that happened, shown in every picture over time.
type Event struct {
	At Number `json:"at_s"`
	// Clock is whose event it is, "" for the whole run.
	Clock string    `json:"clock"`
	Kind  EventKind `json:"kind"`
	// Status is the clock's new status, "" where none changed; Reason a name of package reason, "" without one.
	Status string `json:"status"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

// Disagreement compares the clocks in pairs.
type Disagreement struct {
	Clocks []string `json:"clocks"`
	// Offset[i][j] is clock i − clock j (of the largest absolute value, where it was measured often), Uncertainty its half-width.
	Offset      [][]Number `json:"offset_s"`
	Uncertainty [][]Number `json:"uncertainty_s"`
	// Disagree[i][j]: at some time the two clocks' intervals had nothing in common, so that at least one of them is wrong.
	Disagree [][]bool `json:"disagree"`
}

// Axis is what a plot's axis shows.
type Axis struct {
	Label string `json:"label"`
	Unit  string `json:"unit"`
	Log   bool   `json:"log"`
}

// PlotCurve is a curve of a plot.
type PlotCurve struct {
	Name string `json:"name"`
	// Bound: it is what theory promises, and drawn as such.
	Bound bool `json:"bound"`
	// Points: drawn as points, and not as a line.
	Points bool   `json:"points"`
	X      Column `json:"x"`
	Y      Column `json:"y"`
}

// Plot is a picture that a mode has of its own.
type Plot struct {
	Title  string      `json:"title"`
	Text   string      `json:"text"`
	X      Axis        `json:"x_axis"`
	Y      Axis        `json:"y_axis"`
	Curves []PlotCurve `json:"curves"`
}
