"""An archive from anybody, unpacked: nothing is written but what its manifest names, to the byte, and only below one
folder; nothing is believed that is not checked.

Refused are: names that no study has (and so paths that lead elsewhere), links, devices, folders and sparse files,
members that the manifest does not name or that come twice, sizes and checksums that do not fit, encrypted members, more
bytes than allowed or than the disk has, and headers that would take more memory than they should.
"""

import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdsearch.data.bar import bar
from kdsearch.files import writable
from kdsearch.mistakes import Mistake
from kdsearch.upkeep.bundle import MANIFEST, MOST_MANIFEST_BYTES, Manifest, Member

_CHUNK = 2**20
_MOST_AT_ONCE = 2**24
"""No header of a tar file that kdsearch writes comes near this."""
_TORN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, UnicodeError, OverflowError, ValueError, IndexError),
)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A member as the archive has it, before anything of it is believed."""

    name: str
    plain: bool
    size_bytes: int
    open: Callable[[], IO[bytes]]


@contextmanager
def opened(file: Path, most_bytes: float) -> Iterator["Archive"]:
    """The archive at `file`, with its manifest read. Raises `Mistake`, also for what comes of reading on."""
    if not file.is_file():
        raise Mistake(f"there is no archive {file}")
    try:
        with file.open("rb") as raw:
            magic = raw.read(4)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(file) as stream:
                bounded = _Bounded(stream, most_bytes)
                with tarfile.open(fileobj=bounded, mode="r:") as tar:
                    yield Archive(file, _of_tar(tar), most_bytes)
        elif magic == b"PK\x03\x04":
            with zipfile.ZipFile(file) as packed:
                yield Archive(file, _of_zip(packed), most_bytes)
        else:
            raise Mistake(f"{file} is no .tar.gz and no .zip")
    except Mistake:
        raise
    except _TORN as error:
        raise Mistake(
            f"the archive {file} is damaged or no archive ({type(error).__name__}: {str(error)[:200]})"
        ) from None


class Archive:
    """An archive being read from its beginning, once."""

    def __init__(self, file: Path, members: Iterator[_Held], most_bytes: float) -> None:
        self._file = file
        self._members = members
        first = next(members, None)
        if first is None or first.name != MANIFEST or not first.plain or first.size_bytes > MOST_MANIFEST_BYTES:
            raise self._refusal(f"it does not begin with {MANIFEST}, so kdsearch archive has not written it")
        with first.open() as content:
            text = content.read(MOST_MANIFEST_BYTES)
        try:
            self.manifest = Manifest.of(text)
        except Mistake as mistake:
            raise self._refusal(str(mistake)) from None
        if self.manifest.size_bytes > most_bytes:
            raise self._refusal(
                f"it unpacks to {self.manifest.size_bytes / 1e9:,.2f} GB, above the limit of {most_bytes / 1e9:,.2f}; "
                "where you trust it, raise the limit with --max-gb"
            )

    def unpack(self, folder: Path) -> None:
        """Write the rows and the files of the study into `folder`, which is empty. Raises `Mistake`."""
        if (free := shutil.disk_usage(folder).free) < self.manifest.size_bytes:
            raise self._refusal(
                f"it unpacks to {self.manifest.size_bytes / 1e6:,.1f} MB, {folder.parent} has {free / 1e6:,.1f}"
            )
        missing = dict(self.manifest.members)
        with bar(f"restoring {self.manifest.study}", len(missing), "files") as advance:
            for held in self._members:
                expected = missing.pop(held.name, None)
                if expected is None:
                    again = "twice" if held.name in self.manifest.members else "though its table of contents does not"
                    raise self._refusal(f"it holds {held.name!r} {again}")
                if not held.plain or held.size_bytes != expected.size_bytes:
                    raise self._refusal(f"{held.name} is no file of the size that its table of contents says")
                self._copy(held, expected, folder / held.name.removeprefix("files/"))
                advance(1)
        if missing:
            raise self._refusal(f"it lacks {len(missing)} of its files, {min(missing)} among them")

    def _copy(self, held: _Held, expected: Member, to: Path) -> None:
        sha256, left = hashlib.sha256(), expected.size_bytes
        with writable(to):
            to.parent.mkdir(exist_ok=True)
            with held.open() as source, to.open("xb") as target:
                while chunk := source.read(min(_CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        raise self._refusal(f"{held.name} is larger than its table of contents says")
                    sha256.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
        if left or sha256.hexdigest() != expected.sha256:
            raise self._refusal(f"the checksum of {held.name} does not fit its content")

    def _refusal(self, why: str) -> Mistake:
        return Mistake(f"the archive {self._file} is not restored: {why}")


def _of_tar(tar: tarfile.TarFile) -> Iterator[_Held]:
    for member in tar:
        tarfile.data_filter(member, "/nowhere")  # Python's own check, before ours
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()

        def read(member: tarfile.TarInfo = member) -> IO[bytes]:
            found = tar.extractfile(member)
            assert found is not None  # a regular file
            return found

        yield _Held(name=member.name, plain=plain, size_bytes=member.size, open=read)


def _of_zip(packed: zipfile.ZipFile) -> Iterator[_Held]:
    for info in packed.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = not info.is_dir() and kind in (0, stat.S_IFREG) and not info.flag_bits & 1
        known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

        def read(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return packed.open(info)

        yield _Held(name=info.orig_filename, plain=plain and known, size_bytes=info.file_size, open=read)


class _Bounded(io.RawIOBase):
    """The decompressed tar file, which may ask for no more than a header's or a chunk's bytes at once: a header that
    says it has gigabytes of names would else get the memory for them.
    """

    def __init__(self, stream: gzip.GzipFile, most_bytes: float) -> None:
        self._stream = stream
        self._most = most_bytes + MOST_MANIFEST_BYTES + _MOST_AT_ONCE

    def read(self, size: int = -1) -> bytes:
        self._check(size)
        return self._stream.read(size)

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(0)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _check(self, size: int) -> None:
        if size < 0 or size > _MOST_AT_ONCE:
            raise tarfile.ReadError("a header is larger than any that kdsearch writes")
        if self._stream.tell() > self._most:
            raise tarfile.ReadError("it unpacks to more than is allowed")
