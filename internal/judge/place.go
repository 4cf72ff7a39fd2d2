package judge

import "macvtap-filter/internal/ruleset"

// A Packet is a frame as rules find their fields in it.
type Packet struct{ packet }

// Parse reads a frame as Frame does.
func (j *Judge) Parse(hook ruleset.HookType, frame []byte) (*Packet, error) {
	p, err := parse(hook, frame)
	if err != nil {
		return nil, err
	}
	p.device = j.device
	return &Packet{*p}, nil
}

// Place gives where in the frame a field begins that lies in one; false where the kernel
// cannot read it.
func (p *Packet) Place(f ruleset.Field) (at int, ok bool) { return p.place(f) }

// Meta gives the value of a field that the kernel keeps beside the frame, but for the mark.
func (p *Packet) Meta(f ruleset.Field) (value []byte, ok bool) { return p.meta(f.Name) }
