"""File systems in a file, on a loop device: their power is cut, their space is taken away."""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time

# The same number and argument for ext4 and XFS.
SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_JOURNAL = 2

FIEMAP = 0xC020660B
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0",
             "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}
# mkfs.xfs refuses less than 300 MiB.
IMAGE_BYTES = {"ext4": 160 << 20, "xfs": 320 << 20}

_libc = ctypes.CDLL(None, use_errno=True)


def why_not(kind):
    """Why this machine cannot do it, or None."""
    if os.geteuid() != 0:
        return "a loop mount needs root"
    for tool in (MAKE[kind][0], "mount", "umount", "losetup"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    with open("/proc/filesystems") as file:
        if kind not in file.read().split():
            return f"this kernel has no {kind}"
    return None


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Unmountable(RuntimeError):
    pass


class LoopFileSystem:
    """A file system of `kind` in a sparse file below `root`."""

    def __init__(self, root, kind="ext4", image_bytes=None, image_directory=None,
                 request_kilobytes=None):
        self.kind = kind
        # The loop driver tells of a write that was cut short by a full backing file as if it were
        # whole (seen with Linux 6.18). A request of one page is written or fails; the file system's
        # blocks are pages too, or a request would lie across two.
        self.request_kilobytes = request_kilobytes
        self.restore = None
        self.image = os.path.join(image_directory or root, f"image.{kind}")
        self.point = os.path.join(root, f"mount.{kind}")
        os.makedirs(self.point, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(image_bytes or IMAGE_BYTES[kind])
        page = ("-b", "4096") if request_kilobytes and kind == "ext4" else ()
        made = run(*MAKE[kind], *page, self.image)
        if made.returncode != 0:
            raise Unmountable("cannot make a file system: " + made.stdout.decode().strip())
        self.mounted = False

    def mount(self):
        done = run("mount", "-t", self.kind, "-o", "loop", self.image, self.point)
        self.mounted = done.returncode == 0
        if not self.mounted:
            raise Unmountable(done.stdout.decode().strip())
        if self.request_kilobytes:
            try:
                self._limit_requests()
            except (OSError, IndexError) as error:
                raise Unmountable(f"the requests of its loop device cannot be limited: {error}") from error

    def _limit_requests(self):
        found = run("losetup", "-n", "-O", "NAME", "-j", self.image).stdout.decode().split()
        path = f"/sys/block/{os.path.basename(found[0])}/queue/max_sectors_kb"
        with open(path) as file:
            before = file.read()
        with open(path, "w") as file:
            file.write(str(self.request_kilobytes))
        # The limit outlives the loop: others use the device after this.
        self.restore = (path, before)

    def _restore_requests(self):
        if self.restore:
            path, before = self.restore
            self.restore = None
            with open(path, "w") as file:
                file.write(before)

    def unmount(self):
        self._restore_requests()
        deadline = time.monotonic() + 120
        while self.mounted:
            done = run("umount", self.point)
            if done.returncode == 0:
                self.mounted = False
            elif time.monotonic() > deadline:
                # It goes once nobody uses it any more.
                run("umount", "-l", self.point)
                self.mounted = False
                raise Unmountable(done.stdout.decode().strip())
            else:
                time.sleep(0.05)

    def cut(self):
        """Drops everything that was not synced, in one moment."""
        descriptor = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_JOURNAL))
        finally:
            os.close(descriptor)

    def remount(self):
        """What is on the device and nothing else: no page cache survives it."""
        self.unmount()
        self.mount()

    def repair_and_mount(self):
        """An ext4 that noted errors before may go read-only again as soon as it is written; a check of
        the file system, as at any start of a machine, takes the note away."""
        self.unmount()
        run("e2fsck", "-f", "-y", self.image)
        self.mount()

    def remove(self):
        try:
            self.unmount()
        finally:
            if os.path.exists(self.image):
                os.unlink(self.image)

    def free_bytes(self):
        status = os.statvfs(self.point)
        return status.f_bavail * status.f_frsize

    def fill(self, name="ballast", leave=0):
        """Fills the file system to the last block that it gives."""
        path = os.path.join(self.point, name)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for chunk in (1 << 20, 4096):
                while self.free_bytes() - leave >= chunk:
                    size = os.fstat(descriptor).st_size
                    count = (self.free_bytes() - leave) // chunk * chunk
                    try:
                        os.posix_fallocate(descriptor, size, count)
                    except OSError:
                        # Its own blocks for where the others are need room too.
                        break
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return path


def extents(path):
    """Where a file lies on its device, as (position in the file, on the device, byte count)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        count = 256
        request = bytearray(struct.pack("=QQLLLL", 0, (1 << 64) - 1, 0, 0, count, 0))
        request += bytes(56 * count)
        fcntl.ioctl(descriptor, FIEMAP, request)
        mapped = struct.unpack_from("=L", request, 20)[0]
        return [struct.unpack_from("=QQQ", request, 32 + 56 * index) for index in range(mapped)]
    finally:
        os.close(descriptor)


def punch(path, position, count):
    """Gives the room of a part of a file back; it reads as zeros."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        done = _libc.fallocate(
            descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            ctypes.c_long(position), ctypes.c_long(count))
        if done != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)


def make_thin(image, device_extents):
    """Gives back every zero page of these parts of an image, as a thin device that recognises zeros
    does; the bytes given back."""
    page = 4096
    freed = 0
    with open(image, "rb") as file:
        for _, position, count in device_extents:
            file.seek(position)
            data = file.read(count)
            start = None
            for at in range(0, len(data) + page, page):
                is_zero = at < len(data) and not any(data[at:at + page])
                if is_zero and start is None:
                    start = at
                elif not is_zero and start is not None:
                    punch(image, position + start, at - start)
                    freed += at - start
                    start = None
    return freed
