package rpc

import (
	"errors"
	"fmt"
)

// ErrNoDomain says that the daemon knows no such domain.
var ErrNoDomain = errors.New("no such domain")

// ErrState says that the domain is in no state for that: it is shut off.
var ErrState = errors.New("not in this state")

// VIR_ERR_NO_DOMAIN and VIR_ERR_OPERATION_INVALID of libvirt's virterror.h.
const (
	noDomain         = 42
	operationInvalid = 55
)

// An Error is what the daemon says of a call that failed: the beginning of struct
// virNetMessageError in virnetprotocol.x.
type Error struct {
	Code    int32 // virErrorNumber of virterror.h
	Domain  int32 // which part of libvirt says so: virErrorDomain
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("error %d of part %d, by virterror.h", e.Code, e.Domain)
	}
	return e.Message
}

// Is has a domain that is not there be ErrNoDomain, and what it is in no state for ErrState.
func (e *Error) Is(target error) bool {
	return target == ErrNoDomain && e.Code == noDomain || target == ErrState && e.Code == operationInvalid
}

func readError(h header, r results) error {
	e := &Error{Code: int32(r.number()), Domain: int32(r.number()), Message: r.textOrNull()}
	switch {
	case h.status != statusError:
		return fmt.Errorf("an answer of status %d, where %d and %d can be", h.status, statusOK, statusError)
	case r.err != nil:
		return broken(h.procedure, r.err)
	}
	return e
}
