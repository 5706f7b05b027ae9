"""Keep lines in a folder of files that only grow: one writer, any number of readers, no locks.

    history/000000000001.jsonl    {"history":1,"machine":"..."}     the head: format, and the boot
            000000005001.jsonl    {"id":5001,...}                   one record a line

Each file is named after the number of its first record; numbers only increase. A file is never
changed but at its end: what a crash left of a last line is ended by a line break, and the oldest
files are removed once the others hold enough. So a reader sees whole lines, in their order, up to
some moment, and follows by the number of the last one that it has read. It knows lines by their
beginning alone; what records mean is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator

from opensvc_openha.hints import Any
from opensvc_openha.system.files import identity_of

FORMAT = 1
MODE = 0o640
FOLDER_MODE = 0o2750
"""New files get the group of the folder, which an operator may have chosen."""
SET_ASIDE = "damaged.jsonl"
_PER_SEGMENT = 10
"""So many files hold what has to be kept: one more is the room that is used beyond that."""
_NAME = re.compile(r"(\d{12,18})\.jsonl\Z")
_NUMBER = re.compile(rb'\n\{"id":(\d{1,18}),')
_HEAD_START = b'{"history":'
_BLOCK_BYTES = 65_536
_LINE_BYTES = 65_536
"""No record has as many."""
_NO_LINE = b"\0"


class DamagedFile(Exception):
    """The newest file is none that can be continued; never leaves the writer's thread."""


class PartlyWritten(Exception):
    """Not all lines of a batch were written: ``whole`` of them were, then there was ``error``."""

    def __init__(self, whole: int, error: OSError) -> None:
        super().__init__()
        self.whole, self.error = whole, error


def path_of(folder: str, number: int) -> str:
    """Return the file whose first record has this number."""
    return f"{folder}/{number:012}.jsonl"


def numbers_in(folder: str) -> list[int]:
    """Return the first numbers of all files, the oldest first; raises OSError."""
    return sorted(int(found[1]) for found in map(_NAME.match, os.listdir(folder)) if found)


def mark_of(folder: str) -> object:
    """Return a value that changes with each line; None without a file. Raises OSError."""
    numbers = numbers_in(folder)
    if not numbers:
        return None
    found = os.stat(path_of(folder, numbers[-1]))
    return numbers[-1], found.st_ino, found.st_size


class Segment:
    """One open file, for a reader. Raises OSError, of which ``FileNotFoundError`` is usual."""

    def __init__(self, folder: str, number: int) -> None:
        # A pipe in its place is not waited for.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        self._handle = os.open(path_of(folder, number), flags)
        try:
            self._size = os.fstat(self._handle).st_size
            head = _head_of(self._handle)
        except BaseException:
            self.close()
            raise
        self.machine = str(head.get("machine", ""))
        self.is_known = head.get("history", FORMAT) == FORMAT
        """False for a file of a later version. One with a damaged head has its records still."""

    def blocks(self) -> Iterator[bytes]:
        """Yield its whole lines in blocks, the newest block first; a line break precedes each line.

        So the interpreter is held for a moment only, however long the file is.
        """
        return _blocks(self._handle, self._size)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def _head_of(handle: int) -> dict[str, Any]:
    """Return the values of the head; none of one that is damaged."""
    try:
        head = json.loads(os.pread(handle, 4_096, 0).partition(b"\n")[0])
    except (ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}


def _blocks(handle: int, end: int) -> Iterator[bytes]:
    rest: bytes | None = None
    """Beginning of the block behind; None until the last line break is found."""
    while end > 0:
        begin = max(0, end - _BLOCK_BYTES)
        data = os.pread(handle, end - begin, begin)
        if len(data) < end - begin:
            return  # Cut off by another program.
        end = begin
        if rest is None:
            last = data.rfind(b"\n")
            if last < 0:
                continue
            data, rest = data[:last], b""
        data += rest
        first = data.find(b"\n") if begin else 0
        if first < 0:
            rest = data if len(data) < _LINE_BYTES else _NO_LINE
            continue
        rest = data[:first]
        data = data[first:] if begin else b"\n" + data
        if data:
            yield data


def _is_torn(handle: int, size: int) -> bool:
    """Return whether the last line of a file that has bytes was left unfinished."""
    return os.pread(handle, 1, size - 1) != b"\n"


def _number_behind(handle: int, first: int) -> int:
    """Return the number behind those of a file: no record of it has that, damaged ones included."""
    size = os.fstat(handle).st_size
    lines = int(size > 0 and _is_torn(handle, size))
    newest = 0
    for block in _blocks(handle, size):
        numbers = [] if newest else _NUMBER.findall(block)
        if numbers:
            behind = block.count(b"\n", block.rindex(b'\n{"id":' + numbers[-1]) + 1)
            newest = int(numbers[-1]) + lines + behind
        lines += block.count(b"\n")
    return max(newest + 1, first + lines - 1)


def lines_of(block: bytes) -> list[bytes]:
    """Return the lines of a block but for the head, oldest first."""
    return [line for line in block[1:].split(b"\n") if not line.startswith(_HEAD_START)]


class SegmentAppender:
    """The newest file, for the one writer."""

    def __init__(self, folder: str) -> None:
        """Make the folder, and open what is there to be continued.

        Raises OSError, and DamagedFile if the newest file has to be set aside first.
        """
        self._folder = folder
        self._handle = -1
        self._identity: tuple[int, ...] | None = None
        self._is_torn = self._is_dirty = self._is_new_folder = False
        self._first = self.next_number = 1
        self.machine = ""
        """The boot in which the file was begun: its lines name only others."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o750)
            self._is_new_folder = True
        os.chmod(folder, FOLDER_MODE)
        numbers = numbers_in(folder)
        if numbers:
            self._first = self.next_number = numbers[-1]
            self._open(os.O_RDWR)
            try:
                self._continue()
            except BaseException:
                self.close()
                raise

    def _open(self, flags: int) -> None:
        path = path_of(self._folder, self._first)
        more = os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        self._handle = os.open(path, flags | more, MODE)
        os.fchmod(self._handle, MODE)
        self._identity = identity_of(self._handle)

    def _continue(self) -> None:
        """Find the number of the next record."""
        found = os.fstat(self._handle)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedFile("it is no file")
        if not found.st_size:
            # A crash left its name, or there was no room for more.
            os.close(self._handle)
            self._handle = -1
            return
        head = _head_of(self._handle)
        version, self.machine = head.get("history"), str(head.get("machine", ""))
        if version != FORMAT:
            raise DamagedFile(f"it is no history of this version (its version is {version})")
        self._is_torn = _is_torn(self._handle, found.st_size)
        self.next_number = _number_behind(self._handle, self._first)

    @property
    def is_in_place(self) -> bool:
        """Return False once the file was removed or replaced."""
        return self._handle < 0 or (
            identity_of(path_of(self._folder, self._first)) == self._identity
        )

    def needs_head(self, limit: int) -> bool:
        """Return True if the next record begins a file, as there are ``limit`` to be kept."""
        held = self.next_number - self._first
        return self._handle < 0 or held >= max(1, limit // _PER_SEGMENT)

    def begin(self, machine: str, limit: int) -> None:
        """Begin a file in a boot of the machine; drop old ones where the others hold ``limit``.

        Raises OSError.
        """
        self.sync()
        self.close()
        self._first = self.next_number
        path = path_of(self._folder, self._first)
        with contextlib.suppress(FileNotFoundError):
            if not os.path.getsize(path):
                os.unlink(path)
        self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._is_torn = False
        try:
            head = json.dumps({"history": FORMAT, "machine": machine}, separators=(",", ":"))
            self.append(f"{head}\n".encode(), 0)
        except PartlyWritten as failure:
            # Nothing is in it, and its room is needed.
            os.unlink(path)
            self.close()
            raise failure.error from None
        self.machine = machine
        for named_in in (self._folder, *([os.path.dirname(self._folder)] * self._is_new_folder)):
            folder = os.open(named_in, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._is_new_folder = False
        numbers = numbers_in(self._folder)
        while len(numbers) > 1 and self.next_number - numbers[1] >= limit:
            os.unlink(path_of(self._folder, numbers.pop(0)))

    def append(self, lines: bytes, next_number: int) -> None:
        """Write lines, after which the next record has this number (0: the same as before).

        They are on disk with the next ``sync``. Raises PartlyWritten.
        """
        data = b"\n" + lines if self._is_torn else lines
        done = 0
        self._is_dirty = True
        try:
            while done < len(data):
                done += os.write(self._handle, memoryview(data)[done:])
        except OSError as error:
            whole = max(0, data[:done].count(b"\n") - self._is_torn)
            raise PartlyWritten(whole, error) from error
        self._is_torn = False
        self.next_number = next_number or self.next_number

    def sync(self) -> None:
        """Have all that was written on disk. Raises OSError."""
        if not self._is_dirty or self._handle < 0:
            return
        self._is_dirty = False
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Close the file; what is not on disk is written by the system."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def set_aside(folder: str) -> str:
    """Keep the newest file under another name, and have the next one begin behind its numbers.

    Returns that name. Raises OSError.
    """
    first = max(numbers_in(folder), default=0)
    path, damaged = path_of(folder, first), f"{folder}/{SET_ASIDE}"
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # Its head may have been lost: one line more counts as a record.
        behind = 1 + max(first, _number_behind(handle, first))
    finally:
        os.close(handle)
    os.close(os.open(path_of(folder, behind), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE))
    os.chmod(path, MODE)
    os.replace(path, damaged)
    return damaged
