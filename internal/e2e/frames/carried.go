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
		carried[i] = seen[string(frame)] || seen[string(filled(frame))]
	}
	return carried
}

// filled is a frame as long as the shortest that a NIC sends.
func filled(frame []byte) []byte {
	return append(append(make([]byte, 0, shortest), frame...), make([]byte, max(0, shortest-len(frame)))...)
}
