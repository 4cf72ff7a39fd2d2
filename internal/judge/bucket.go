package judge

import (
	"time"

	"macvtap-filter/internal/ruleset"
)

// A bucket is what is left of an element's share (net/netfilter/nft_limit.c, nft_limit_eval): a
// token costs time, and time fills the bucket.
type bucket struct {
	cost, most, tokens, last time.Duration
	over                     bool
}

// full is a new element's.
func full(s ruleset.Share, now time.Duration) *bucket {
	cost := s.Unit / time.Duration(s.Rate)
	most := cost * time.Duration(s.Burst)
	return &bucket{cost, most, most, now, s.Over}
}

// spend counts on the share of a set's element, and reports whether there was any of it left, or,
// where the share says so, none; with an element without a share a rule always goes on.
func (j *Judge) spend(set string, key []byte) bool {
	b := j.buckets[set][string(key)]
	if b == nil {
		return true
	}
	b.tokens, b.last = min(b.tokens+j.now-b.last, b.most), j.now
	if b.tokens < b.cost {
		return b.over
	}
	b.tokens -= b.cost
	return !b.over
}
