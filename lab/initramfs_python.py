"""The Python part of an initramfs: the interpreter that runs now, its library, virtproof and what it imports."""

from __future__ import annotations

import fnmatch
import importlib.util
import marshal
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import virtproof
from virtproof.guest_payloads import images
from virtproof.lab.initramfs import Archive
from virtproof.spec.fault import Fault

SITE = "usr/lib/virtproof"  # the folder to name in PYTHONPATH; PYTHONHOME is /usr
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
STDLIB = f"usr/lib/{VERSION}"
LIBRARIES = "lib/x86_64-linux-gnu"
LOADER = "lib64/ld-linux-x86-64.so.2"

# Imported by nothing that runs there: pytest shows cases to developers, Pygments colours source code for rich.
LEFT_OUT = frozenset({"pytest", "pygments"})

_NOT_OF_STDLIB = (
    "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "turtle.py", "ensurepip", "venv", "pydoc_data",
    "config-*", "site-packages", "dist-packages", "__pycache__", "distutils", "curses", "dbm", "xmlrpc", "msilib",
)  # fmt: skip
_NOT_OF_EXTENSIONS = (
    "_test*",
    "_codecs_*",
    "xx*",
    "_xx*",
    "_tkinter*",
    "_curses*",
    "readline*",
    "nis*",
    "_dbm*",
    "_gdbm*",
)
_NEEDED = re.compile(r"^\s*\S+ => (/\S+)", re.MULTILINE)
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


def add_python(archive: Archive) -> None:
    """Add the interpreter, and the standard library compiled and without sources.  Raises ``Fault``."""
    program = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    stdlib = Path(sysconfig.get_path("stdlib"))
    extensions = [
        path for path in sorted((stdlib / "lib-dynload").glob("*.so")) if not _matches(path.name, _NOT_OF_EXTENSIONS)
    ]
    archive.file("usr/bin/python3", _stripped(program), 0o755)
    for at, folders, files in os.walk(stdlib):
        folders[:] = sorted(one for one in folders if not _matches(one, (*_NOT_OF_STDLIB, "lib-dynload")))
        for name in sorted(files):
            if name.endswith(".py") and not _matches(name, _NOT_OF_STDLIB):
                path = Path(at, name)
                _add_compiled(archive, path, f"{STDLIB}/{path.relative_to(stdlib)}")
    for path in extensions:
        archive.file(f"{STDLIB}/lib-dynload/{path.name}", _stripped(path), 0o755)
    add_libraries(archive, (program, *extensions))


def add_distributions(archive: Archive, root: str = "virtproof") -> None:
    """Add the packages that ``root`` needs to run, as pip installed them for this interpreter.  Raises ``Fault``."""
    shared = []
    for name in _requirements(root):
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if ".." in file.parts or path.suffix in {".pyc", ".pyi", ".h"} or not path.is_file():
                continue
            if path.suffix == ".py":
                _add_compiled(archive, path, f"{SITE}/{file}")
            elif ".so" in path.suffixes:
                archive.file(f"{SITE}/{file}", _stripped(path), 0o755)
                shared.append(path)
            else:
                archive.file(f"{SITE}/{file}", path.read_bytes())
    add_libraries(archive, shared)


def distributions(root: str = "virtproof") -> tuple[str, ...]:
    """The packages that ``add_distributions`` adds, with their versions: what its result depends on."""
    return tuple(f"{name} {metadata.version(name)}" for name in _requirements(root))


def sources() -> dict[str, bytes]:
    """The files of this virtproof, path below the package -> content; without the images of its guests."""
    package = Path(virtproof.__file__).parent
    found = {}
    for at, folders, files in os.walk(package, followlinks=True):
        folders[:] = sorted(one for one in folders if one not in {"__pycache__", "images"} and not one.startswith("."))
        for name in sorted(files):
            path = Path(at, name)
            if path.suffix != ".pyc" and not name.startswith("."):
                found[str(path.relative_to(package))] = path.read_bytes()
    return found


def add_virtproof(archive: Archive, sources: dict[str, bytes]) -> None:
    """Add ``sources``, for tracebacks, compiled beside them, and the images of the guests, which are built now.

    Raises ``Fault`` where there is no compiler.
    """
    tag = sys.implementation.cache_tag
    for name, data in sources.items():
        path = f"{SITE}/virtproof/{name}"
        archive.file(path, data)
        if name.endswith(".py"):
            folder, _, file = path.rpartition("/")
            archive.file(f"{folder}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc", _compiled(data, f"/{path}"))
    with tempfile.TemporaryDirectory() as built:
        images.build_all(Path(built))
        archive.tree(Path(built), f"{SITE}/virtproof/guest_payloads/images")


def add_libraries(archive: Archive, objects: Iterable[Path], search: Iterable[Path] = ()) -> None:
    """Add the shared libraries that programs and libraries need, and the loader; ``search``: where else to look."""
    if LOADER not in archive:
        archive.file(LOADER, Path("/", LOADER).read_bytes(), 0o755)
    found: dict[str, Path] = {}
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, search)), "LC_ALL": "C"}
    for one in objects:
        said = subprocess.run(["ldd", one], capture_output=True, text=True, check=False, env=environment)
        found |= {Path(path).name: Path(path) for path in _NEEDED.findall(said.stdout)}
    for name, path in sorted(found.items()):
        if f"{LIBRARIES}/{name}" not in archive:
            archive.file(f"{LIBRARIES}/{name}", _stripped(path), 0o755)


def _requirements(root: str) -> tuple[str, ...]:
    """Names of the distributions that ``root`` needs without extras, transitively."""
    names: list[str] = []
    todo = [root]
    while todo:
        name = todo.pop(0)
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            raise Fault(
                f"find the Python package {name}",
                "it is not installed",
                "pip install virtproof, which brings all it needs",
            ) from None
        for line in requires:
            found = _REQUIREMENT.match(line)
            if found and ";" not in line and found[0].lower() not in (*names, *LEFT_OUT):
                names.append(found[0].lower())
                todo.append(found[0])
    return tuple(sorted(names))


def _add_compiled(archive: Archive, path: Path, where: str) -> None:
    try:
        archive.file(where + "c", _compiled(path.read_bytes(), "/" + where))
    except (SyntaxError, ValueError):  # a file for another version of Python, as some packages have
        archive.file(where, path.read_bytes())


def _compiled(source: bytes, name: str) -> bytes:
    """The content of a .pyc that is never checked against its source (PEP 552).

    The marshal module's format 2 has no back references: what becomes one depends on who else in this process holds
    the object, and the same source shall give the same bytes.  Raises ValueError where that format will not do.
    """
    code = compile(source, name, "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source) + marshal.dumps(code, 2)


def _stripped(path: Path) -> bytes:
    with tempfile.NamedTemporaryFile() as target:
        try:
            subprocess.run(["strip", "-o", target.name, path], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as err:
            raise Fault(f"strip {path}", str(err), "apt-get install binutils") from err
        return Path(target.name).read_bytes()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
