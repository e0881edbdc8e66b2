"""A network namespace without a name, which nothing but this process holds: it is gone when the process is.

Linux network_namespaces(7): a namespace lives as long as a process in it, a descriptor of it or a mount of it.  Here
that is one thread, so SIGKILL ends it too.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from virtproof.spec.fault import Fault

CLONE_NEWNET = 0x4000_0000  # <linux/sched.h>

T = TypeVar("T")


class Namespace:
    """A thread in a network namespace of its own; a context manager.

    Raises Fault where the host does not permit it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network namespace")
        try:
            self.call(_unshare)
        except OSError as error:
            self.close()
            saw = f"unshare(CLONE_NEWNET): {error.strerror}"
            raise Fault("make a network namespace", saw, "run as root, or with CAP_SYS_ADMIN") from error

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in the namespace: sockets and child processes that it makes belong there.

        A child has to end with this process (PR_SET_PDEATHSIG) where the namespace shall.
        """
        return self._thread.submit(function).result()

    def close(self) -> None:
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
