package rpc

import (
	"context"
	"fmt"
	"net"
	"slices"
)

// What libvirt's src/remote/remote_protocol.x calls REMOTE_PROGRAM and
// REMOTE_PROTOCOL_VERSION.
const (
	remoteProgram = 0x20008086
	remoteVersion = 1
)

// A procedure is what the daemon can be asked for, or tells of.
type procedure uint32

// The procedures that are used here: REMOTE_PROC_… of remote_protocol.x.
const (
	connectOpen           procedure = 1
	connectClose          procedure = 2
	domainGetXMLDesc      procedure = 14
	domainLookupByName    procedure = 23
	domainLookupByUUID    procedure = 24
	authList              procedure = 66
	authPolkit            procedure = 70
	domainIsActive        procedure = 150
	connectGetLibVersion  procedure = 157
	domainSetMetadata     procedure = 264
	connectListAllDomains procedure = 273
	eventRegisterAny      procedure = 316 // …CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY
	eventLifecycle        procedure = 318 // …DOMAIN_EVENT_CALLBACK_LIFECYCLE, and so on
	eventDeviceRemoved    procedure = 333
	eventDeviceAdded      procedure = 354
	eventMetadataChange   procedure = 379
)

// Ways to authenticate: enum remote_auth_type.
const (
	noAuthentication = 0
	polkit           = 2
)

// Upper limits of remote_protocol.x.
const (
	stringMax   = 4 << 20 // REMOTE_STRING_MAX
	authListMax = 20      // REMOTE_AUTH_TYPE_LIST_MAX

	// MaxDomains is how many domains a list has at most: REMOTE_DOMAIN_LIST_MAX.
	MaxDomains = 16384
)

// Which domains to list: bits of virConnectListAllDomainsFlags.
const (
	All    uint32 = 0
	Active uint32 = 1
)

// What of a domain is set, and where: VIR_DOMAIN_METADATA_ELEMENT of virDomainMetadataType, and
// VIR_DOMAIN_AFFECT_LIVE of virDomainModificationImpact.
const (
	metadataElement uint32 = 2
	affectLive      uint32 = 1
)

// An Event is what happens to domains: virDomainEventID of libvirt-domain.h.
type Event uint32

// The events of which a connection tells.
const (
	Lifecycle      Event = 0
	DeviceRemoved  Event = 15
	DeviceAdded    Event = 19
	MetadataChange Event = 23
)

// A Domain is a VM as calls name it: struct remote_nonnull_domain.
type Domain struct {
	Name string
	UUID [16]byte
	ID   int32 // -1 for one that is shut off
}

// Open speaks with the daemon at the other end of conn, opens the hypervisor of a URI
// there, and gives up when ctx ends. Events that are subscribed to are told to happened,
// which must not wait, by the domain that they are about. Without success conn is closed.
func Open(ctx context.Context, conn net.Conn, uri string, happened func(Domain)) (*Conn, error) {
	c := newConn(conn, happened)
	err := c.authenticate(ctx)
	if err == nil {
		const given, flags = 1, 0 // the URI may be missing
		_, err = c.call(ctx, connectOpen, arguments{}.number(given).text(uri).number(flags))
	}
	if err != nil {
		c.Cut()
		return nil, err
	}
	return c, nil
}

// authenticate asks first which way is wanted, as libvirt's own client does: the daemon
// answers nothing else until it was. From root it wants none where others have to ask
// polkit.
func (c *Conn) authenticate(ctx context.Context) error {
	r, err := c.call(ctx, authList, nil)
	if err != nil {
		return err
	}
	var ways []uint32
	for range r.length(authListMax) {
		ways = append(ways, r.number())
	}
	switch {
	case r.err != nil:
		return broken(authList, r.err)
	case slices.Contains(ways, noAuthentication):
		return nil
	case slices.Contains(ways, polkit):
		_, err := c.call(ctx, authPolkit, nil)
		return err
	}
	return fmt.Errorf("it wants its clients to authenticate by %v of enum remote_auth_type (1 is SASL), and none or polkit are known here: auth_unix_rw in the daemon's configuration says so", ways)
}

// Close takes leave, which keeps a complaint out of the daemon's log, and closes the
// connection. A daemon that owes an answer, or gives none before ctx ends, is not waited
// for.
func (c *Conn) Close(ctx context.Context) {
	if !c.owes() {
		_, _ = c.call(ctx, connectClose, nil) // nothing is left undone
	}
	c.Cut()
}

// Version gives the daemon's version: major*1,000,000 + minor*1,000 + release.
func (c *Conn) Version(ctx context.Context) (uint64, error) {
	return ask(ctx, c, connectGetLibVersion, nil, (*results).hyper)
}

// Domains lists domains, those of a flag.
func (c *Conn) Domains(ctx context.Context, which uint32) ([]Domain, error) {
	const names = 1 // and not only how many
	return ask(ctx, c, connectListAllDomains, arguments{}.number(names).number(which), (*results).domains)
}

func (r *results) domains() (domains []Domain) {
	for range r.length(MaxDomains) {
		if domains = append(domains, r.domain()); r.err != nil {
			return nil
		}
	}
	return domains
}

// LookupByName gives the domain of a name, ErrNoDomain when there is none.
func (c *Conn) LookupByName(ctx context.Context, name string) (Domain, error) {
	return ask(ctx, c, domainLookupByName, arguments{}.text(name), (*results).domain)
}

// LookupByUUID gives the domain of a UUID, ErrNoDomain when there is none.
func (c *Conn) LookupByUUID(ctx context.Context, uuid [16]byte) (Domain, error) {
	return ask(ctx, c, domainLookupByUUID, uuid[:], (*results).domain)
}

// IsActive reports whether a domain runs.
func (c *Conn) IsActive(ctx context.Context, d Domain) (bool, error) {
	active, err := ask(ctx, c, domainIsActive, arguments{}.domain(d), (*results).number)
	return active != 0, err
}

// XML gives a domain's XML; of one that runs, as it is now.
func (c *Conn) XML(ctx context.Context, d Domain) (string, error) {
	const flags = 0
	return ask(ctx, c, domainGetXMLDesc, arguments{}.domain(d).number(flags), (*results).text)
}

// SetMetadata sets the element of a namespace in the <metadata> of a domain that runs, for as
// long as it does: its definition stays. The element is given without namespace, and gets this
// one with the prefix key; of "", the one that is there goes.
func (c *Conn) SetMetadata(ctx context.Context, d Domain, key, uri, element string) error {
	a := arguments{}.domain(d).number(metadataElement).textOrNull(element).textOrNull(key).textOrNull(uri).number(affectLive)
	_, err := c.call(ctx, domainSetMetadata, a)
	return err
}

// Subscribe has the daemon tell of an event, of whichever domain.
func (c *Conn) Subscribe(ctx context.Context, e Event) error {
	const anyDomain = 0 // one may be given
	_, err := c.call(ctx, eventRegisterAny, arguments{}.number(uint32(e)).number(anyDomain))
	return err
}

// tell tells of an event: each message begins with its subscription and its domain.
func (c *Conn) tell(p procedure, r results) error {
	switch p {
	case eventLifecycle, eventDeviceRemoved, eventDeviceAdded, eventMetadataChange:
	default:
		return nil // nobody asked
	}
	_ = r.number()
	d := r.domain()
	if r.err != nil {
		return broken(p, r.err)
	}
	if c.happened != nil {
		c.happened(d)
	}
	return nil
}

// ask calls a procedure, and reads its result.
func ask[T any](ctx context.Context, c *Conn, p procedure, a arguments, read func(*results) T) (result T, err error) {
	r, err := c.call(ctx, p, a)
	if err != nil {
		return result, err
	}
	if result = read(&r); r.err != nil {
		return *new(T), broken(p, r.err)
	}
	return result, nil
}

func broken(p procedure, err error) error {
	return fmt.Errorf("the message of procedure %d in remote_protocol.x is broken: %w", p, err)
}
