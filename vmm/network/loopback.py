"""A plug that gives an adapter back what it sends."""

from virtproof.vmm.events import After
from virtproof.vmm.network.inbox import Inbox
from virtproof.vmm.network.port import Receive


class Loopback:
    """A port whose other end is itself; it keeps what ``Inbox`` keeps."""

    def __init__(self, after: After) -> None:
        self._inbox = Inbox(after)

    @property
    def dropped(self) -> int:
        return self._inbox.dropped

    def send(self, frame: bytes) -> None:
        self._inbox.put(frame)

    def connect(self, receive: Receive) -> None:
        self._inbox.connect(receive)

    def ready(self) -> None:
        self._inbox.ready()
