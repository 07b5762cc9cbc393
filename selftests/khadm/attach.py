#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""attach.py ADDR KEY FILE: attach to the region at ADDR, store to its first unit, make FILE, stay until it goes."""
import fcntl
import os
import struct
import sys
import time

ATTACH = 3 << 30 | 88 << 16 | 0xB5 << 8 | 1  # KHAZANA_IOC_ATTACH

hi, lo = (int(part, 16) for part in sys.argv[1].split(":"))
request = struct.pack("<IIQQQ16sII QQQ Q", 88, 0, hi, lo, 0, bytes.fromhex(sys.argv[2]), 0, 0, 0, 0, 0, 0)
device = os.open("/dev/khazana", os.O_RDWR)
fcntl.ioctl(device, ATTACH, request)
os.pwrite(device, b"khadm", 0)
open(sys.argv[3], "w").close()
while os.path.exists(sys.argv[3]):
    time.sleep(0.1)
