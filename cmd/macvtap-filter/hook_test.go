package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWithin(t *testing.T) {
	const long = time.Hour
	wrong := errors.New("wrong")
	if err := within(long, "web", func(context.Context) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("error %v, want %v", err, wrong)
	}
	if err := within(long, "web", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	err := within(time.Millisecond, "web", func(context.Context) error { select {} })
	if err == nil || !strings.HasPrefix(err.Error(), `VM "web": gave up after 1ms`) {
		t.Errorf("work without end: %v", err)
	}
	err = within(long, "web", func(context.Context) error { panic("oops") })
	if err == nil || err.Error() != `VM "web": a fault of the program: oops` {
		t.Errorf("work that panics: %v", err)
	}
}
