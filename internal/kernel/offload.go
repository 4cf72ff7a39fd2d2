package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/ruleset"
)

// attachOffload has the check of offloads stand on the device of each table that
// asks for one.
func attachOffload(tables []ruleset.Table) error {
	for _, t := range tables {
		if !t.CheckOffload {
			continue
		}
		err := onDevice(t.Name, offload.Attach)
		switch {
		case errors.Is(err, unix.ENODEV):
			return err
		case err != nil:
			return fmt.Errorf("%w; offload = \"pass\" in the policy does without", err)
		}
	}
	return nil
}

// Uncheck takes the check of offloads off the devices of tables that were removed.
// Where the device is gone, so is the check. The caller holds the lock (see Lock)
// since before the removal: a device of that name may be another VM's by now
// otherwise. What goes with its device, as a stopped VM's, need not be unchecked.
func Uncheck(removed []Standing) error {
	var errs []error
	for _, s := range removed {
		errs = append(errs, detachOffload(s.Name))
	}
	return errors.Join(errs...)
}

func detachOffload(table string) error {
	err := onDevice(table, offload.Detach)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// readOffload says of each table whether its device has the check.
func readOffload(held []Held) error {
	for i := range held {
		err := onDevice(held[i].Name, func(ifindex int) (err error) {
			held[i].Table.CheckOffload, err = offload.Attached(ifindex)
			return err
		})
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return nil
}

// onDevice does something to the device of a table, by its index.
func onDevice(table string, do func(ifindex int) error) error {
	device, _ := ruleset.TableDevice(table)
	index, err := deviceIndex(device)
	if err == nil {
		err = do(index)
	}
	if err != nil {
		return fmt.Errorf("%s: the check of checksum offload: %w", device, err)
	}
	return nil
}

// deviceIndex finds a device by its name, without a list of all.
func deviceIndex(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	socket, err := deviceSocket()
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}
