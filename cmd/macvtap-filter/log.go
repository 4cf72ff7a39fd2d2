package main

import (
	"log/slog"
	"os"

	sdjournal "github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/journal"
)

// A logger takes what happens where nobody waits for it: in hook calls and in watch.
type logger func(slog.Level, string, journal.Fields)

// toJournal logs with the fields that journalctl filters by.
func toJournal(level slog.Level, message string, f journal.Fields) {
	switch {
	case level >= slog.LevelError:
		journal.Error(message, f)
	case level >= slog.LevelWarn:
		journal.Warning(message, f)
	default:
		journal.Info(message, f)
	}
}

// toStderr logs for the person who called the program.
func toStderr(std streams) logger {
	return func(level slog.Level, message string, _ journal.Fields) {
		switch {
		case level >= slog.LevelError:
			errorf(std, "%s", message)
		case level >= slog.LevelWarn:
			warningf(std, "%s", message)
		default:
			notef(std, "%s", message)
		}
	}
}

// hookLog gives the log of a hook call. libvirt shows nobody what a hook that
// succeeded wrote; a person at a terminal does see it.
func hookLog(std streams) logger {
	if isTerminal(std.err) {
		return toStderr(std)
	}
	return toJournal
}

// watchLog gives the log of watch: the journal where systemd started it and stderr
// goes there anyway, stderr where a person or another supervisor reads it.
func watchLog(std streams) logger {
	// A terminal on the desktop inherits the variable, but not the stream.
	toSystemd, _ := sdjournal.StderrIsJournalStream()
	if toSystemd || os.Getenv("NOTIFY_SOCKET") != "" && !isTerminal(std.err) {
		return toJournal
	}
	return toStderr(std)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
