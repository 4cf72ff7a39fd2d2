package status_test

import (
	"testing"

	"macvtap-filter/internal/patience"
)

// TestMain has what is tested wait as long as a busy machine may take.
func TestMain(m *testing.M) {
	patience.Lengthen(bound)
	m.Run()
}
