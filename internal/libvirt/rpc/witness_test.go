package rpc

import (
	"bufio"
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/libvirttest"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/go-cmp/cmp"
)

// A name with letters of several bytes, and of a length that wants padding.
var guest = Domain{Name: "Gäste-7", UUID: [16]byte{0: 0xfe, 7: 0x47, 15: 0x01}, ID: -1}

// The bytes of every call are those that another hand writes, and each call's serial is
// its own.
func TestCallsAsAnotherHandWritesThem(t *testing.T) {
	ours := recorded(t, func(d *recorder) {
		c, err := Open(t.Context(), d.client, string(libvirt.QEMUSystem), nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = c.Version(t.Context())
		d.check(err)
		_, err = c.Domains(t.Context(), Active)
		d.check(err)
		_, err = c.LookupByName(t.Context(), guest.Name)
		d.check(err)
		_, err = c.LookupByUUID(t.Context(), guest.UUID)
		d.check(err)
		_, err = c.IsActive(t.Context(), guest)
		d.check(err)
		_, err = c.XML(t.Context(), guest)
		d.check(err)
		d.check(c.SetMetadata(t.Context(), guest, "mva", "urn:a", "<addresses/>"))
		d.check(c.SetMetadata(t.Context(), guest, "", "urn:a", ""))
		for _, e := range []Event{Lifecycle, DeviceAdded, DeviceRemoved, MetadataChange} {
			d.check(c.Subscribe(t.Context(), e))
		}
		_, err = c.call(t.Context(), authPolkit, nil)
		d.check(err)
		c.Close(t.Context())
	})
	theirs := recorded(t, func(d *recorder) {
		c := libvirt.NewWithDialer(dialers.NewAlreadyConnected(d.client))
		d.check(c.ConnectToURI(libvirt.QEMUSystem))
		// ConnectToURI writes that there is a URI as no XDR: its bytes are those of a
		// true that libvirt takes for one. The generated call writes 1.
		d.forget(connectOpen)
		d.check(c.ConnectOpen(libvirt.OptString{string(libvirt.QEMUSystem)}, 0))
		other := libvirt.Domain{Name: guest.Name, UUID: guest.UUID, ID: guest.ID}
		_, err := c.ConnectGetLibVersion()
		d.check(err)
		_, _, err = c.ConnectListAllDomains(1, libvirt.ConnectListDomainsActive)
		d.check(err)
		_, err = c.DomainLookupByName(guest.Name)
		d.check(err)
		_, err = c.DomainLookupByUUID(guest.UUID)
		d.check(err)
		_, err = c.DomainIsActive(other)
		d.check(err)
		_, err = c.DomainGetXMLDesc(other, 0)
		d.check(err)
		d.check(c.DomainSetMetadata(other, int32(libvirt.DomainMetadataElement),
			libvirt.OptString{"<addresses/>"}, libvirt.OptString{"mva"}, libvirt.OptString{"urn:a"}, libvirt.DomainAffectLive))
		d.check(c.DomainSetMetadata(other, int32(libvirt.DomainMetadataElement), nil, nil, libvirt.OptString{"urn:a"}, libvirt.DomainAffectLive))
		for _, e := range []libvirt.DomainEventID{
			libvirt.DomainEventIDLifecycle, libvirt.DomainEventIDDeviceAdded,
			libvirt.DomainEventIDDeviceRemoved, libvirt.DomainEventIDMetadataChange,
		} {
			_, err = c.ConnectDomainEventCallbackRegisterAny(int32(e), nil)
			d.check(err)
		}
		_, err = c.AuthPolkit()
		d.check(err)
		d.check(c.ConnectClose())
	})
	if got := slices.Sorted(maps.Keys(ours)); len(got) != 12 {
		t.Fatalf("%d procedures were called: %v", len(got), got)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("-go-libvirt +ours:\n%s", diff)
	}
}

// A recorder is a daemon that keeps what it is sent.
type recorder struct {
	daemon
	client net.Conn
	calls  map[procedure][][]byte // without serials
}

func (d *recorder) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Error(err)
	}
}

// forget forgets the calls of a procedure, all of which are answered.
func (d *recorder) forget(p procedure) { delete(d.calls, p) }

// recorded gives what a client sends.
func recorded(t *testing.T, talk func(*recorder)) map[procedure][][]byte {
	t.Helper()
	client, end := sockets(t)
	d := &recorder{daemon{t, end, bufio.NewReader(end)}, client, map[procedure][][]byte{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serials := map[uint32]bool{}
		for {
			h, a, ok := d.next()
			if !ok {
				return
			}
			if serials[h.serial] {
				t.Errorf("two calls of serial %d", h.serial)
			}
			serials[h.serial] = true
			answered := h
			h.serial = 0
			d.calls[h.procedure] = append(d.calls[h.procedure], message(h, a))
			d.answer(answered, answers[h.procedure])
		}
	}()
	talk(d)
	client.Close()
	soon(t, done, "the recorder ends")
	return d.calls
}

// answers are good enough for either client.
var answers = map[procedure]arguments{
	authList:              arguments{}.number(1).number(noAuthentication),
	authPolkit:            arguments{}.number(1),
	connectGetLibVersion:  arguments{}.number(0).number(9_000_000),
	connectListAllDomains: arguments{}.number(1).domain(guest).number(1),
	domainLookupByName:    arguments{}.domain(guest),
	domainLookupByUUID:    arguments{}.domain(guest),
	domainIsActive:        arguments{}.number(1),
	domainGetXMLDesc:      arguments{}.text("<domain/>"),
	eventRegisterAny:      arguments{}.number(1),
}

// A daemon of another hand is understood.
func TestDaemonOfAnotherHand(t *testing.T) {
	client, err := libvirttest.New().Dial()
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, bound)
	c, err := Open(ctx, client, "test:///default", nil)
	if err != nil {
		t.Fatal(err)
	}
	version, err := c.Version(ctx)
	if err != nil || version != 1_003_004 {
		t.Errorf("version %d, %v", version, err)
	}
	domains, err := c.Domains(ctx, All)
	if err != nil || len(domains) != 2 || domains[0].Name != "aaaaaaa-1" || domains[1].Name != "aaaaaaa-2" {
		t.Errorf("domains %+v, %v", domains, err)
	}
	want := Domain{
		Name: "test", ID: 14,
		UUID: [16]byte{0xdc, 0x22, 0x9f, 0x87, 0xd4, 0xde, 0x47, 0x19, 0x8c, 0xfd, 0x2e, 0x21, 0xc6, 0x10, 0x5b, 0x01},
	}
	if got, err := c.LookupByName(ctx, "test"); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	c.Close(ctx)
	soon(t, c.Ended(), "the connection ends")
}
