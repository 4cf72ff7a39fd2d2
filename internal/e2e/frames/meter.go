package frames

import "sync/atomic"

// A Meter counts how often certain frames cross a NIC. They are too many to be kept, and the capture does not record them.
type Meter struct {
	frames     map[string]bool
	came, left atomic.Int64
}

// Meter counts these frames from now on, as they are. Those that an earlier meter counts are the new one's alone.
func (c *Capture) Meter(frames [][]byte) *Meter {
	m := &Meter{frames: map[string]bool{}}
	for _, f := range frames {
		m.frames[string(f)] = true
		m.frames[string(filled(f))] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meters = append([]*Meter{m}, c.meters...)
	return m
}

// Came returns how many of the frames have come in at the NIC.
func (m *Meter) Came() int { return int(m.came.Load()) }

// Left returns how many the NIC's own side has sent.
func (m *Meter) Left() int { return int(m.left.Load()) }

// count tells whether a frame is one of the meter's.
func (m *Meter) count(f Frame) bool {
	switch {
	case !m.frames[string(f.Data)]:
		return false
	case f.Sent:
		m.left.Add(1)
	default:
		m.came.Add(1)
	}
	return true
}
