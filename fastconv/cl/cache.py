"""Compiled programs on disk: the second start of a program compiles nothing.

An entry is one file, named by the hash of everything its binary depends on. Files are written aside
and renamed, so that any number of processes and threads share a folder without locks: whoever comes
last replaces a whole file by an equal one. What is not a whole entry of ours counts as absent. A folder
that cannot be read or written only costs time.

FASTCONV_CL_CACHE=0 switches it off; a path puts it there.
"""
import atexit
import contextlib
import hashlib
import os
import pathlib
import tempfile
import time
import weakref

from .folders import user_folder

MAGIC = b"fastconv program 1\n"
ENDING = ".clbin"
UNFINISHED = ".unfinished-"
MAX_BYTES = 256 << 20
TRIM_EVERY = 64             # entries written between two looks at the size of the folder
STALE_SECONDS = 3600        # what a process that died left unfinished
SLOW_SECONDS = 0.01
EXIT_SECONDS = 10.0


def default_folder():
    """Where programs are kept, or None: nowhere."""
    asked = os.environ.get("FASTCONV_CL_CACHE") or "1"
    if asked == "0":
        return None
    if asked != "1":
        return pathlib.Path(asked)
    own = user_folder("cache")
    return own and own / "opencl"


class ProgramCache:
    """The entries of one folder; `folder` None keeps nothing."""

    def __init__(self, folder, max_bytes=MAX_BYTES):
        self.folder = folder
        self.max_bytes = max_bytes
        self._written = 0
        self._slow = False

    def _path(self, key):
        return self.folder / (hashlib.sha256(key.encode()).hexdigest() + ENDING)

    @staticmethod
    def _digest(key, binary):
        return hashlib.sha256(hashlib.sha256(key.encode()).digest() + binary).digest()

    def load(self, key):
        """The binary kept under `key`, or None."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            entry = path.read_bytes()
            os.utime(path)          # used lately: the last to go
        except OSError:
            return None
        start = len(MAGIC) + 32
        binary = entry[start:]
        whole = entry[:start] == MAGIC + self._digest(key, binary)
        return binary if whole and binary else None

    def store(self, key, binary):
        """Keep `binary` under `key`, in place of what is there."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._written % TRIM_EVERY == 0:
                self._trim()
            self._written += 1
            handle, part = tempfile.mkstemp(prefix=UNFINISHED, dir=self.folder)
            try:
                with open(handle, "wb") as file:
                    file.write(MAGIC + self._digest(key, binary) + binary)
                os.replace(part, self._path(key))
            except BaseException:
                os.unlink(part)
                raise

    def keep(self, key, program):
        """Store the binary of a program that was just built.

        Most drivers hand it out at once. PoCL compiles it a second time, for any group size: then the
        rest waits for the end of the process, which takes EXIT_SECONDS more at most.
        """
        if self.folder is None:
            return
        if self._slow:
            _late.append((self, key, weakref.ref(program)))
            return
        start = time.perf_counter()
        self._fetch(key, program)
        self._slow = time.perf_counter() - start > SLOW_SECONDS

    def _fetch(self, key, program):
        import pyopencl as cl
        with contextlib.suppress(cl.Error):
            binary = program.get_info(cl.program_info.BINARIES)[0]
            if binary:
                self.store(key, binary)

    def _trim(self):
        """Remove what was used longest ago until three quarters of the room are left, and what nobody finished."""
        entries, total, now = [], 0, time.time()
        with os.scandir(self.folder) as found:
            for entry in found:
                if entry.name.endswith(ENDING):
                    stat = entry.stat()
                    entries.append((stat.st_mtime, stat.st_size, entry.path))
                    total += stat.st_size
                elif entry.name.startswith(UNFINISHED) and now - entry.stat().st_mtime > STALE_SECONDS:
                    os.unlink(entry.path)
        if total <= self.max_bytes:
            return
        for _, size, path in sorted(entries):
            if total <= self.max_bytes * 3 // 4:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size


_late: list = []
_process = os.getpid()


@atexit.register
def _keep_late():
    """Store what `keep` put off; not in a forked child, where OpenCL must not be touched."""
    end = time.monotonic() + EXIT_SECONDS
    if os.getpid() != _process:
        return
    with contextlib.suppress(KeyboardInterrupt):
        while _late and time.monotonic() < end:
            cache, key, program = _late.pop(0)
            program = program()
            if program is not None:
                cache._fetch(key, program)
