// Package guest boots small Linux guests for tests: Debian's cloud kernel in
// QEMU, with an initramfs made here.
//
// The kernel is fetched with apt-get and unpacked into the user's cache, never
// installed, so that tests can run on a second kernel, and give libvirt a guest
// to start, on a machine that was prepared with nothing but Debian packages:
// apt, dpkg, xz-utils, kmod, busybox-static, qemu-system-x86, and libc-bin for ldd.
package guest
