package frames

// shortest is an Ethernet frame's least size without its checksum: a NIC may fill a shorter one up with zeros.
const shortest = 60

// Carried tells of each frame whether it crossed the NIC as it is, sent by the NIC's own side or come in.
func (c *Capture) Carried(frames [][]byte, sent bool) []bool {
	seen := map[string]bool{}
	c.Count(func(f Frame) bool {
		if f.Sent == sent {
			seen[string(f.Data)] = true
		}
		return false
	})
	carried := make([]bool, len(frames))
	for i, frame := range frames {
		filled := append(make([]byte, 0, shortest), frame...)
		for len(filled) < shortest {
			filled = append(filled, 0)
		}
		carried[i] = seen[string(frame)] || seen[string(filled)]
	}
	return carried
}
