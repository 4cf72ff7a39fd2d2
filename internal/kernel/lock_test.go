package kernel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"macvtap-filter/internal/kernel"
)

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

func TestLock(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	unlock, err := kernel.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	short, cancelShort := context.WithTimeout(ctx, 20*time.Millisecond) // meant to be over
	defer cancelShort()
	if _, err := kernel.Lock(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock: %v, want that the time is over", err)
	}
	unlock()
	again, err := kernel.Lock(ctx)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	again()
}
