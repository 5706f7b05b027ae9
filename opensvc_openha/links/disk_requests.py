"""What disk_process and the disk worker exchange: requests one way, replies and reports the other.

Each is a header and a payload. A place that is watched is read at its pace without further
requests: what differs from the read before is reported, and each read is noted in a page that both
processes have, which wakes nobody. Knows nothing of slots and beats, nor what a SCSI command means.
"""

import struct

REQUEST = struct.Struct(">cIQI")
"""Operation, id, byte offset, length; the bytes to write follow."""
REPLY = struct.Struct(">IiI")
"""Id of the request, errno or 0, length of the payload that follows."""
UNDERWAY = -1
"""In the place of the errno: a part of the request is done, which took its time."""
INFO = struct.Struct(">IQBBB")
"""Payload for OPEN: bytes of a logical block, bytes of the device, and flags.

Block device, page cache avoided, mounted or held by another user (known only if it was opened for
writing).
"""

OPEN, OPEN_FOR_WRITING, READ, WRITE, SCSI = b"o", b"O", b"r", b"w", b"s"
REPLACE, WATCH, LEAVE = b"u", b"l", b"e"
MAX_BYTES = 65_536

REPLACE_HEAD = struct.Struct(">Idd")
"""What follows the header of REPLACE; then what must be there before, and what is written.

Length of the former, 0 if anything may be there; the instant from which on nothing is written any
more; the seconds from which on a part of it is reported as UNDERWAY.
"""
WRITTEN, NOT_AS_LEFT, NOT_AS_WRITTEN = b"\0", b"\1", b"\2"
"""First byte of its answer: it is on the device; or what was found instead follows.

NOT_AS_LEFT was found before, and nothing was written; NOT_AS_WRITTEN was found afterwards.
"""
WATCH_FORM = struct.Struct(">IdI")
"""What follows the header of WATCH: bytes to read, seconds between two reads, place in the page.

LEAVE has the id of the WATCH that it ends.
"""
LOOK = struct.Struct(">ddQ")
"""A read of a watched place that shows something else than the read before is reported with the id
of the WATCH: instants of its beginning and its end, number of the read; its content follows."""
NOTE = struct.Struct(">QQQQdd")
"""What the page has of the newest read of a watched place, twice, one after the other.

Id of the WATCH, number of the read, number of reads that were reported, whether this one was, and
instants of its beginning and its end. Noted after it is reported. Who reads while it is written
finds two that differ.
"""
NOTES_BYTES = 4096
NOTES = NOTES_BYTES // (2 * NOTE.size)
"""Places of the page."""

SCSI_REQUEST = struct.Struct(">BI")
"""What follows the header of SCSI: length of the command, bytes wanted; command, bytes to send.

The place of the byte offset holds the time that the kernel gives the command, in milliseconds.
"""
SCSI_REPLY = struct.Struct(">BHHB")
"""Payload for SCSI: status, host status, driver status, length of the sense data; sense data, data
that was read."""
