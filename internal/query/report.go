package query

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// reportFormat is the version of the JSON keys: it grows when one is removed or changes its meaning.
const reportFormat = 1

// Report is what came of all hosts. Its JSON keys are stable; a missing value is null.
type Report struct {
	Format  int      `json:"format"`
	Results []Result `json:"results"`
}

// Result is what came of one host. All times are in seconds; nil (null) means not known.
type Result struct {
	// Host is what was asked for, Address what was asked: "192.0.2.1:123".
	Host    string  `json:"host"`
	Address *string `json:"address"`
	// Stratum, ReferenceID, Leap and Version are those of the last answer. ReferenceID is text: a clock's name (GPS) or a
	// kiss code at stratum 0 and 1, otherwise four decimal bytes, which are an IPv4 address or the hash of an IPv6 one.
	Stratum     *int    `json:"stratum"`
	ReferenceID *string `json:"reference_id"`
	Leap        *int    `json:"leap"`
	Version     *int    `json:"version"`
	// Offset is the server's time − this machine's, at the last sample; Error is its half-width: the truth is not further
	// away if the server keeps its own promise (RootDistance) and nobody steps this machine's clock meanwhile.
	Offset *float64 `json:"offset_s"`
	Error  *float64 `json:"error_s"`
	// DelayMin and DelayMedian are of the round trips without the server's part.
	DelayMin    *float64 `json:"delay_min_s"`
	DelayMedian *float64 `json:"delay_median_s"`
	// RootDistance is RootDelay/2 + RootDispersion: how wrong the server says it can be.
	RootDelay      *float64 `json:"root_delay_s"`
	RootDispersion *float64 `json:"root_dispersion_s"`
	RootDistance   *float64 `json:"root_distance_s"`
	Precision      *float64 `json:"precision_s"`
	SamplesSent    int      `json:"samples_sent"`
	SamplesOK      int      `json:"samples_ok"`
	SamplesLost    int      `json:"samples_lost"`
	// ReceiveStamp is kernel if all samples have the kernel's receive stamp, otherwise user.
	ReceiveStamp *string `json:"receive_stamp"`
	// Reason says why the last request gave no sample, or why the samples give no offset; Message is the same for people.
	Reason  *reason.Code `json:"reason"`
	Message *string      `json:"message"`
	// Rejections counts rejected datagrams and failed requests by reason.
	Rejections map[string]uint64 `json:"rejections"`
}

// Good reports whether every host gave an offset.
func (r Report) Good() bool {
	for i := range r.Results {
		if r.Results[i].Offset == nil {
			return false
		}
	}
	return true
}

// JSON writes the report as one line.
func (r Report) JSON(w io.Writer) error {
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return fmt.Errorf("query: write the report: %w", err)
	}
	return nil
}

// Table writes the report for people: a line for each host, then a sentence for each host with something to complain of.
func (r Report) Table(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESS\tSTRATUM\tREFERENCE\tLEAP\tOFFSET\tERROR\tDELAY\tROOT DISTANCE\tSAMPLES")
	for i := range r.Results {
		h := &r.Results[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\n", clean(h.Host), text(h.Address), whole(h.Stratum), text(h.ReferenceID),
			leapText(h.Leap), seconds(h.Offset, "+"), seconds(h.Error, "±"), seconds(h.DelayMin, ""), seconds(h.RootDistance, ""),
			h.SamplesOK, h.SamplesSent)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("query: write the table: %w", err)
	}
	for i := range r.Results {
		if h := &r.Results[i]; h.Message != nil {
			fmt.Fprintf(&b, "%s: %s\n", clean(h.Host), clean(*h.Message))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("query: write the table: %w", err)
	}
	return nil
}

// missing stands in the table for what is not known.
const missing = "-"

// clean makes text from outside harmless to a terminal and to the table's columns.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func text(s *string) string {
	if s == nil {
		return missing
	}
	return clean(*s)
}

func whole(n *int) string {
	if n == nil {
		return missing
	}
	return strconv.Itoa(*n)
}

func leapText(leap *int) string {
	if leap == nil {
		return missing
	}
	switch uint8(*leap) {
	case ntp.LeapNone:
		return "none"
	case ntp.LeapInsert:
		return "insert"
	case ntp.LeapDelete:
		return "delete"
	}
	return "unsynchronised"
}

// seconds writes a time with four digits and the unit that fits. A sign "+" is written before positive values, any other sign
// before every value.
func seconds(v *float64, sign string) string {
	if v == nil {
		return missing
	}
	scaled, unit := *v, "s"
	for _, u := range []struct {
		name string
		size float64
	}{{"ms", 1e-3}, {"µs", 1e-6}, {"ns", 1e-9}} {
		// Rounded to four digits, what is below 1 of a unit is written in the next smaller one.
		if math.Abs(scaled) >= 0.99995 || *v == 0 {
			break
		}
		scaled, unit = *v/u.size, u.name
	}
	if sign == "+" && *v < 0 {
		sign = ""
	}
	decimals := 3
	for limit := 9.9995; decimals > 0 && math.Abs(scaled) >= limit; limit *= 10 {
		decimals--
	}
	return sign + strconv.FormatFloat(scaled, 'f', decimals, 64) + " " + unit
}
