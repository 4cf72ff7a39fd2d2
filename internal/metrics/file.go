package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Extension is that of the files which node_exporter's textfile collector reads.
const Extension = ".prom"

// WriteFile puts a file in its place in one step: who reads it meanwhile reads the old
// one or the new one. Everybody may read it: node_exporter is not root.
func WriteFile(name string, text []byte) (err error) {
	// Another extension, so that half a file is never read.
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", name, errors.Join(err, os.Remove(file.Name())))
		}
	}()
	_, err = file.Write(text)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
