package main

import "context"

func check(ctx context.Context, std streams, o options, args []string) error { return wantNone(args) }
