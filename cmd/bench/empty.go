package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildEmpty builds, in a new folder, a Go program that does nothing, the way the
// binary is built: the least that any hook written in Go can take.
func buildEmpty(ctx context.Context, folder string) (string, error) {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	for name, content := range map[string]string{
		"go.mod":  "module empty\n\ngo 1.26\n",
		"main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	program := filepath.Join(folder, "empty")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build an empty Go program to compare with: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return program, nil
}
