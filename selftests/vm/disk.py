# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks of guests: an ext4 image behind vdisk, which loses what was not flushed when the
power is cut, and, on request, a second device on which dm-log-writes records every write."""
import os
import re
import select
import shutil
import subprocess

ORDER_SECONDS = 60
FREEZE_MS = 400


class DiskError(Exception):
    """A disk cannot be made or served; the text says why."""


def parse_size(text):
    """Bytes of 64M, 1G and the like."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    size = int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0
    if size < 8 << 20 or size % 4096:
        raise ValueError("%s: a size is a number with K, M or G, 8M at least" % text)
    return size


def find_tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise DiskError("%s is missing: run scripts/deps" % name)
    return path


class Disk:
    """Disk of one guest: IMAGE.img, with logging also IMAGE.base.B and IMAGE.log.B of its boot B."""

    def __init__(self, name, size, log_size, vdisk, seed):
        self.name, self.log_size, self.boots = name, log_size, 0
        self.image, self.socket = name + ".img", name + ".sock"
        with open(self.image, "wb") as f:
            f.truncate(size)
        # Everything is written here and now, so that the guest does not go on with it later.
        done = subprocess.run(
            [find_tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-E",
             "assume_storage_prezeroed=1,lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.image],
            capture_output=True, text=True)
        if done.returncode:
            raise DiskError("mke2fs: " + done.stderr.strip())
        self.server = subprocess.Popen([vdisk, self.socket, self.image, str(seed)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.answer("vdisk")

    def answer(self, what):
        """vdisk's next line, as numbers."""
        ready, _, _ = select.select([self.server.stdout], [], [], ORDER_SECONDS)
        line = self.server.stdout.readline() if ready else "no answer"
        if line.split()[:1] != ["ok"]:
            raise DiskError("%s: %s: %s" % (self.image, what, line.strip()))
        return [int(word) for word in line.split()[1:]]

    def tell(self, text):
        self.server.stdin.write(text + "\n")
        self.server.stdin.flush()

    def order(self, text):
        self.tell(text)
        return self.answer(text)

    def begin_freeze(self, sectors):
        """Serve until so much is unflushed, but not for long: a power cut shall find something."""
        self.tell("freeze %d %d" % (sectors, FREEZE_MS))

    def end_freeze(self):
        self.answer("freeze")

    def cut(self, seed):
        """Power fails: (unflushed sectors, how many of them are lost)."""
        return self.order("cut %d" % seed)

    def arguments(self):
        """QEMU's, for the next boot."""
        self.boots += 1
        words = ["-blockdev", "driver=nbd,node-name=disk,server.type=unix,server.path=" + self.socket,
                 "-device", "virtio-blk-pci,drive=disk,serial=store,write-cache=on,discard=off,write-zeroes=off"]
        if self.log_size:
            log = "%s.log.%d" % (self.name, self.boots)
            subprocess.run(["cp", "--sparse=always", self.image, "%s.base.%d" % (self.name, self.boots)], check=True)
            with open(log, "wb") as f:
                f.truncate(self.log_size)
            words += ["-blockdev", "driver=file,node-name=log,cache.no-flush=on,filename=" + log,
                      "-device", "virtio-blk-pci,drive=log,serial=log"]
        return words
