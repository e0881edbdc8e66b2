"""The archive that Linux unpacks as its first root file system: cpio, format "newc", the same bytes every time.

Linux Documentation/driver-api/early-userspace/buffer-format.rst, "initramfs buffer format".  Archives may follow each
other in one initrd: what changes seldom and what changes often are built, and cached, apart.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_ALIGNMENT = 4
_BLOCK = 512
ROOT = 0


class Archive:
    """A cpio archive in memory.  Paths have no leading slash; folders above an entry are made as they are needed."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._seen: set[str] = set()

    def folder(self, path: str, mode: int = 0o755, owner: int = ROOT) -> None:
        if path in self._seen:
            return
        self._parent(path)
        self._add(path, stat.S_IFDIR | mode, owner=owner)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file.  A path that is there already raises ValueError: the kernel would take either."""
        self._parent(path)
        self._add(path, stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._parent(path)
        self._add(path, stat.S_IFLNK | 0o777, os.fsencode(target))

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._parent(path)
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def tree(self, source: Path, path: str = "") -> None:
        """Add a folder with all that is below it: files and links as they are, owned by root."""
        for at, folders, files in os.walk(source):
            folders.sort()
            for name in sorted((*files, *(one for one in folders if Path(at, one).is_symlink()))):
                here = Path(at, name)
                there = os.path.normpath(os.path.join(path, here.relative_to(source)))
                if here.is_symlink():
                    self.link(there, os.readlink(here))
                elif here.is_file():
                    self.file(there, here.read_bytes(), 0o755 if here.stat().st_mode & 0o111 else 0o644)

    def __contains__(self, path: str) -> bool:
        return path in self._seen

    def data(self) -> bytes:
        """The archive, ended and padded so that another may follow."""
        whole = b"".join((*self._entries, self._encode("TRAILER!!!", 0)))
        return whole + bytes(-len(whole) % _BLOCK)

    def _parent(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent and parent != path:
            self.folder(parent)

    def _add(
        self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0), owner: int = ROOT
    ) -> None:
        if path in self._seen or path.startswith("/") or not path:
            raise ValueError(f"{path!r} cannot be added to the archive")
        self._seen.add(path)
        self._entries.append(self._encode(path, mode, data, device, owner))

    def _encode(
        self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0), owner: int = ROOT
    ) -> bytes:
        name = os.fsencode(path) + b"\0"
        fields = (len(self._seen), mode, owner, owner, 1, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        return header + bytes(-len(header) % _ALIGNMENT) + data + bytes(-len(data) % _ALIGNMENT)
