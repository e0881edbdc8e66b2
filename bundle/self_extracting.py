"""virtproof in one file: unpacks itself once into a folder of this user's, and runs from there.

Native libraries cannot be loaded from a zip, and unpacked modules start faster.
"""

import os
import stat
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "virtproof: this needs Python 3.11 or newer (this is %d.%d); virtproof-collect.pyz runs on 3.9, and "
        "what it writes can be judged elsewhere" % sys.version_info[:2]
    )

DIGEST = "@DIGEST@"


def folder():
    """The unpacked content, this user's alone: what others may write would be run with this user's rights."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    parent = os.path.join(base, "virtproof-bundle")
    ready = os.path.join(parent, DIGEST[:32])
    try:
        os.makedirs(parent, mode=0o700, exist_ok=True)
        if not own(parent):
            return unpack(temporary())
        if not os.path.lexists(ready):
            try:
                os.rename(unpack(temporary(parent)), ready)
            except OSError:
                if not os.path.lexists(ready):  # else another process was faster
                    raise
        return ready if own(ready) else unpack(temporary())
    except OSError:  # no home, or one that cannot be written
        return unpack(temporary())


def own(path):
    """Is it a real folder that only this user can change?"""
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def temporary(parent=None):
    """A new folder, removed when this process ends, unless it is renamed before."""
    import atexit
    import shutil
    import tempfile

    path = tempfile.mkdtemp(prefix="virtproof-", dir=parent)
    me = os.getpid()  # forked workers end, too
    atexit.register(lambda: os.getpid() == me and shutil.rmtree(path, ignore_errors=True))
    return path


def unpack(target):
    import zipfile

    with zipfile.ZipFile(os.path.dirname(os.path.abspath(__file__))) as archive:
        archive.extractall(target, [name for name in archive.namelist() if name.startswith("site/")])
    return target


site = os.path.join(folder(), "site")
sys.path.insert(0, site)
# Programs that are started, and the interpreter's own helpers, find the same modules.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, os.environ.get("PYTHONPATH"))))

from virtproof.__main__ import main  # noqa: E402

main()
