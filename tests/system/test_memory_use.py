"""What keeps a long-lived process small: one heap, Python's own digests, memory given back."""

from __future__ import annotations

import subprocess
import sys

_DIGESTS = """
import sys
from opensvc_openha.system.memory_use import use_own_digests
{before}
use_own_digests()
import hashlib, hmac
print("_hashlib" in sys.modules and sys.modules["_hashlib"] is None)
print(hmac.digest(b"Jefe", b"what do ya want for nothing?", "sha256").hex())
print(hashlib.blake2b(b"abc", digest_size=8).hexdigest(), hmac.compare_digest(b"a", b"a"))
"""
_RFC_4231_CASE_2 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
_BLAKE2B_ABC = "d8bb14d833d59559"

_HEAP = """
import ctypes, threading
from opensvc_openha.system.memory_use import give_back, keep_one_heap
keep_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
places = [libc.malloc(1000)]
thread = threading.Thread(target=lambda: places.append(libc.malloc(1000)))
thread.start()
thread.join()
print(abs(places[0] - places[1]) < 2**25)
libc.free.argtypes = [ctypes.c_void_p]
resident = lambda: int(open("/proc/self/statm").read().split()[1])
blocks = [libc.malloc(100_000) for _ in range(400)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
fence = libc.malloc(1000)
full = resident()
for block in blocks:
    libc.free(block)
give_back()
print(resident() < full - 5000)
"""


def _run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_digests_of_python_itself_are_the_same() -> None:
    """The test vector of RFC 4231, and BLAKE2b, without OpenSSL in the process."""
    is_own, sha256, rest = _run(_DIGESTS.format(before=""))
    assert is_own == "True"
    assert sha256 == _RFC_4231_CASE_2
    assert rest == f"{_BLAKE2B_ABC} True"


def test_what_was_imported_already_stays() -> None:
    """Nothing is taken away from modules that use it."""
    is_own, sha256, _ = _run(_DIGESTS.format(before="import hashlib"))
    assert (is_own, sha256) == ("False", _RFC_4231_CASE_2)


def test_a_python_without_digests_of_its_own_keeps_those_of_openssl() -> None:
    """Some distributions build Python without them."""
    missing = "import importlib.util; importlib.util.find_spec = lambda name: None"
    is_own, sha256, _ = _run(_DIGESTS.format(before=missing))
    assert (is_own, sha256) == ("False", _RFC_4231_CASE_2)


def test_threads_share_a_heap_and_free_memory_is_given_back() -> None:
    """A second thread's block lies beside the first one's, and 40 MB do not stay resident."""
    assert _run(_HEAP) == ["True", "True"]
