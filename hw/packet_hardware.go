//go:build linux

package hw

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// Hardware stamps: written by the rules of Documentation/networking/timestamping.rst and tested on recorded readings, but NOT
// run on a network card with a clock, because none was at hand. A stamp taken by the card counts from the start of the frame
// on the wire; a card whose driver applies wrong latency corrections gives stamps that no test here can find out.

// InterfaceStamps is what a network interface offers (ethtool -T).
type InterfaceStamps struct {
	// SoftwareTransmit and SoftwareReceive: the driver takes part in the kernel's stamps.
	SoftwareTransmit bool `json:"software_transmit"`
	SoftwareReceive  bool `json:"software_receive"`
	// Hardware: the NIC stamps every packet in both directions, in the clock /dev/ptpN with N = ClockIndex (−1: none).
	Hardware   bool `json:"hardware"`
	ClockIndex int  `json:"clock_index"`
}

// QueryInterfaceStamps asks the driver of the named interface.
func QueryInterfaceStamps(name string) (InterfaceStamps, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return InterfaceStamps{}, fmt.Errorf("hw: socket: %w", err)
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolTsInfo(fd, name)
	if err != nil {
		return InterfaceStamps{}, fmt.Errorf("hw: stamps of interface %s: %w", name, err)
	}
	return interfaceStamps(info), nil
}

// interfaceStamps reads the driver's answer.
func interfaceStamps(info *unix.EthtoolTsInfo) InterfaceStamps {
	has := func(flags uint32) bool { return info.So_timestamping&flags == flags }
	filters := uint32(1)<<unix.HWTSTAMP_FILTER_ALL | uint32(1)<<unix.HWTSTAMP_FILTER_NTP_ALL
	return InterfaceStamps{
		SoftwareTransmit: has(unix.SOF_TIMESTAMPING_TX_SOFTWARE),
		SoftwareReceive:  has(unix.SOF_TIMESTAMPING_RX_SOFTWARE),
		Hardware: has(unix.SOF_TIMESTAMPING_TX_HARDWARE|unix.SOF_TIMESTAMPING_RX_HARDWARE|unix.SOF_TIMESTAMPING_RAW_HARDWARE) &&
			info.Tx_types&(1<<unix.HWTSTAMP_TX_ON) != 0 && info.Rx_filters&filters != 0 && info.Phc_index >= 0,
		ClockIndex: int(info.Phc_index),
	}
}

// interfaceOf returns the name of the interface that has the address.
func interfaceOf(a netip.Addr) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("hw: interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, x := range addresses {
			if n, ok := x.(*net.IPNet); ok {
				if b, ok := netip.AddrFromSlice(n.IP); ok && b.Unmap() == a.Unmap().WithZone("") {
					return i.Name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("hw: no interface has the address %v", a)
}

// startHardware switches the NIC's stamps on if it and its clock can be used, and records what became of it.
func (c *PacketConn) startHardware(opts *StampOptions) {
	if !opts.Hardware {
		return
	}
	if c.flags == 0 {
		c.capabilities.Hardware = "needs kernel stamps, which are off or refused"
		return
	}
	if c.local.Addr().IsUnspecified() {
		c.capabilities.Hardware = "a socket on all addresses has no single network card"
		return
	}
	name, err := interfaceOf(c.local.Addr())
	if err == nil {
		err = c.useHardware(name)
	}
	if err != nil {
		c.capabilities.Hardware = err.Error()
	}
}

// useHardware switches the stamps of the named interface on.
func (c *PacketConn) useHardware(name string) error {
	offer, err := QueryInterfaceStamps(name)
	if err != nil {
		return err
	}
	if !offer.Hardware {
		return fmt.Errorf("hw: interface %s offers no hardware stamps of every packet", name)
	}
	device, err := openPHC("/dev/ptp" + strconv.Itoa(offer.ClockIndex))
	if err != nil {
		return err
	}
	s := newStamper(newPHCClock(device, newSystemClock(c.counter)), c.counter.Frequency(), StampHardware)
	if s.take() == nil {
		return errors.Join(fmt.Errorf("hw: /dev/ptp%d cannot be read against the counter", offer.ClockIndex), device.close())
	}
	if err := enableHardware(c.fd, name); err != nil {
		return errors.Join(err, device.close())
	}
	if err := setStamping(c.fd, stampFlags|hardwareStampFlags); err != nil {
		return errors.Join(err, device.close())
	}
	c.flags |= hardwareStampFlags
	c.clocks[clockHardware], c.closeClock = s, device.close
	c.capabilities.Receive, c.capabilities.Transmit = StampHardware, StampHardware
	c.capabilities.Hardware = fmt.Sprintf("%s with /dev/ptp%d", name, offer.ClockIndex)
	return nil
}

// enableHardware makes the NIC stamp every packet, unless it does so already. Setting needs CAP_NET_ADMIN.
func enableHardware(fd int, name string) error {
	now, err := unix.IoctlGetHwTstamp(fd, name)
	good := func(x *unix.HwTstampConfig) bool {
		return x.Tx_type == unix.HWTSTAMP_TX_ON && (x.Rx_filter == unix.HWTSTAMP_FILTER_ALL || x.Rx_filter == unix.HWTSTAMP_FILTER_NTP_ALL)
	}
	if err == nil && good(now) {
		return nil
	}
	for _, filter := range []int32{unix.HWTSTAMP_FILTER_ALL, unix.HWTSTAMP_FILTER_NTP_ALL} {
		want := unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: filter}
		if err = unix.IoctlSetHwTstamp(fd, name, &want); err == nil && good(&want) {
			return nil
		}
	}
	if err == nil {
		err = unix.EOPNOTSUPP
	}
	return fmt.Errorf("hw: switch on the stamps of interface %s (needs CAP_NET_ADMIN): %w", name, err)
}

// phcSample is a reading of a PHC between two readings of CLOCK_REALTIME, in nanoseconds.
type phcSample struct{ before, device, after int64 }

// phcSamples is how many readings one bracket asks for; the narrowest counts.
const phcSamples = 3

// phcDevice is a PTP hardware clock.
type phcDevice interface {
	// sysOffset fills samples (PTP_SYS_OFFSET_EXTENDED).
	sysOffset(samples *[phcSamples]phcSample) error
	// now reads the clock in nanoseconds.
	now() (int64, error)
	// maxAdjust is the largest relative rate error that the clock can be programmed to.
	maxAdjust() float64
	close() error
}

// phcClock reads a PHC against the counter.
type phcClock struct {
	device  phcDevice
	system  *systemClock
	mapper  RealtimeMapper
	samples [phcSamples]phcSample
	simple  bool // the driver has no PTP_SYS_OFFSET_EXTENDED
	slew    float64
}

func newPHCClock(device phcDevice, system *systemClock) *phcClock {
	p := &phcClock{device: device, system: system, mapper: NewRealtimeMapper(system.counter.Frequency()), slew: device.maxAdjust()}
	if p.slew < 0 || p.slew > maxSlew {
		p.slew = SlewUnknown
	}
	return p
}

// The rate that a PHC is programmed to cannot be read; what its driver allows at most can.
func (p *phcClock) rate() float64    { return p.slew }
func (p *phcClock) stale(Ticks) bool { return false }

// bracket reads the PHC. A PHC has no second clock that would show its steps, so the mapper relies on the hull alone.
func (p *phcClock) bracket(b *Bracket) bool {
	*b = Bracket{Slew: p.slew}
	if !p.simple {
		if p.extended(b) {
			return true
		}
		p.simple = true
	}
	found := false
	for range phcSamples {
		low := p.system.counter.Read()
		device, err := p.device.now()
		high := p.system.counter.Read()
		if err != nil || high.Before(low) {
			continue
		}
		if !found || high-low < b.Width() {
			b.Low, b.High, b.Realtime, found = low, high, device, true
		}
	}
	return found
}

// extended uses the driver's own brackets in CLOCK_REALTIME, mapped onto the counter by brackets around the call.
func (p *phcClock) extended(b *Bracket) bool {
	var before, after Bracket
	if !p.system.bracket(&before) {
		return false
	}
	low := p.system.counter.Read()
	err := p.device.sysOffset(&p.samples)
	high := p.system.counter.Read()
	if err != nil || high.Before(low) || !p.system.bracket(&after) {
		return false
	}
	after.Slew = SlewUnknown // not read since the call
	// Whatever the driver says of its brackets, each reading was made during the call.
	b.Low, b.High, b.Realtime = low, high, p.samples[0].device
	for i := range p.samples {
		s := &p.samples[i]
		first, code := p.mapper.Map(s.before, &before, &after)
		last, code2 := p.mapper.Map(s.after, &before, &after)
		if code != reason.OK || code2 != reason.OK {
			continue
		}
		from, to := Later(first.Low, low), Earlier(last.High, high)
		if !to.Before(from) && to-from < b.Width() {
			b.Low, b.High, b.Realtime = from, to, s.device
		}
	}
	return true
}

// characterPHC is a /dev/ptpN.
type characterPHC struct {
	fd     int
	adjust float64
	offset unix.PtpSysOffsetExtended
	time   unix.Timespec
}

func openPHC(path string) (*characterPHC, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hw: the network card's clock: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	p := &characterPHC{fd: fd, adjust: SlewUnknown}
	if caps, err := unix.IoctlPtpClockGetcaps(fd); err == nil {
		p.adjust = float64(caps.Max_adj) * 1e-9
	}
	return p, nil
}

func (p *characterPHC) maxAdjust() float64 { return p.adjust }
func (p *characterPHC) close() error       { return unix.Close(p.fd) }

func (p *characterPHC) now() (int64, error) {
	if err := unix.ClockGettime(unix.FdToClockID(p.fd), &p.time); err != nil {
		return 0, fmt.Errorf("hw: clock_gettime: %w", err)
	}
	return p.time.Nano(), nil
}

func (p *characterPHC) sysOffset(samples *[phcSamples]phcSample) error {
	p.offset.Samples, p.offset.Clockid, p.offset.Rsv = phcSamples, unix.CLOCK_REALTIME, [2]uint32{}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), unix.PTP_SYS_OFFSET_EXTENDED, uintptr(unsafe.Pointer(&p.offset))); errno != 0 {
		return fmt.Errorf("hw: PTP_SYS_OFFSET_EXTENDED: %w", errno)
	}
	for i := range samples {
		t := &p.offset.Ts[i]
		samples[i] = phcSample{before: phcTime(&t[0]), device: phcTime(&t[1]), after: phcTime(&t[2])}
	}
	return nil
}

// phcTime converts a struct ptp_clock_time, cut to what an int64 of nanoseconds holds.
func phcTime(t *unix.PtpClockTime) int64 {
	const most = math.MaxInt64/1_000_000_000 - 5 // Nsec may be up to 4.3 s
	return min(max(t.Sec, -most), most)*1e9 + int64(t.Nsec)
}
