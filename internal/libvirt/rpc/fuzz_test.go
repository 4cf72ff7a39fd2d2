package rpc

import (
	"bytes"
	"testing"
)

// Whatever arrives, reading it neither panics nor makes more of it than it is; what was
// read in full, and is written again, is read the same.
func FuzzMessage(f *testing.F) {
	reply := header{remoteProgram, remoteVersion, connectListAllDomains, typeReply, 1, statusOK}
	failure := reply
	failure.status = statusError
	event := header{remoteProgram, remoteVersion, eventLifecycle, typeEvent, 0, statusOK}
	f.Add(message(reply, answers[connectListAllDomains]))
	f.Add(message(failure, arguments{}.number(noDomain).number(10).number(1).text("Domain not found")))
	f.Add(message(event, arguments{}.number(1).domain(guest)))
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, payload, err := readMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(data, message(h, payload)) {
			t.Fatalf("%+v and %x are not what was read", h, payload)
		}
		c := &Conn{waiting: map[uint32]waiting{1: {connectListAllDomains, make(chan answer, 1)}}}
		answered := c.waiting[1].answer
		if c.receive(h, payload) != nil {
			return
		}
		select {
		case a := <-answered:
			r := results{rest: a.results.rest}
			if domains := r.domains(); a.err == nil && r.err == nil {
				again := arguments{}.number(uint32(len(domains)))
				for _, d := range domains {
					again = again.domain(d)
				}
				r := results{rest: again}
				if got := r.domains(); r.err != nil || len(got) != len(domains) {
					t.Fatalf("%+v is read again as %+v, %v", domains, got, r.err)
				}
			}
		default:
		}
		r := results{rest: payload}
		if text := r.text(); len(text) > len(payload) || r.err != nil && text != "" {
			t.Fatalf("%d bytes of %d, %v", len(text), len(payload), r.err)
		}
	})
}
