"""What every virtio device does whatever its kind and transport: VIRTIO 1.2, "Basic Facilities of a Virtio Device".

Features and status, the queues, and the bounds of their work: one notification serves at most as many chains as the
queue is long and moves about ``STINT`` bytes, and what is left goes on from the event loop.  A driver that breaks a
queue breaks the device, until it is reset: DEVICE_NEEDS_RESET, a configuration interrupt, and no more DMA.

A driver that comes through the legacy interface has no FEATURES_OK; else no queue is looked at without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from virtproof.spec.virtio import NO_VECTOR, DeviceId, Feature, Isr, Status, legacy_rings
from virtproof.vmm.devices.virtio.queue import Chain, Queue, QueueBroken, saved_number
from virtproof.vmm.events import After, Timer
from virtproof.vmm.pci.function import DmaError, Function

STINT = 1 << 20  # bytes that one notification moves before others have their turn

_DRIVER_OK, _FEATURES_OK, _NEEDS_RESET = (
    int(field.mask) for field in (Status.driver_ok, Status.features_ok, Status.needs_reset)
)


class Personality:
    """What makes a device one of its kind: a base class of devices that take part in little of it.

    Queues in ``inputs`` have their chains taken by the device when it has something for them; of the others each chain
    is served at once.  ``requirements`` says which feature makes no sense without which.
    """

    kind: ClassVar[DeviceId]
    features: int = 0
    requirements: ClassVar[Mapping[int, int]] = {}
    queue_sizes: tuple[int, ...]  # the greatest of each queue
    inputs: ClassVar[frozenset[int]] = frozenset()

    def config(self) -> bytes:
        """The device configuration as it is now; always as long."""
        return b""

    def configure(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration, inside of it; what it may not write is ignored."""

    def serve(self, queue: int, chain: Chain) -> int | None:
        """Do what a chain asks for; return how many bytes were written, or None where ``complete`` will say that.

        May raise QueueBroken and DmaError.
        """
        raise NotImplementedError

    def refilled(self, queue: int) -> None:
        """The driver says that there are chains in one of ``inputs``."""

    def abandon(self) -> None:
        """Chains that ``serve`` has kept will never be given back: the device was reset, or is broken."""

    def forget(self) -> None:
        """The driver has reset the device: what it has set is forgotten."""


class Virtio:
    """``signal`` takes an interrupt to the driver: the cause, and the vector that goes with it."""

    def __init__(
        self,
        personality: Personality,
        function: Function,
        after: After,
        signal: Callable[[Isr, int], None],
    ) -> None:
        self._personality, self._function, self._after, self._signal = personality, function, after, signal
        self.queues = [
            Queue(function, size, quiet=number in personality.inputs)
            for number, size in enumerate(personality.queue_sizes)
        ]
        self._resumptions: dict[int, Timer] = {}
        self.status = self.accepted = self.generation = 0
        self.config_vector = NO_VECTOR
        self._clear()

    @property
    def offered(self) -> int:
        """What a driver is offered that knows this version."""
        return self._personality.features | Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.VERSION_1

    @property
    def offered_legacy(self) -> int:
        return self.offered & 0xFFFF_FFFF | Feature.ANY_LAYOUT

    @property
    def live(self) -> bool:
        """Whether the device may look at its queues."""
        ready = _DRIVER_OK if self.legacy else _DRIVER_OK | _FEATURES_OK
        return self.status & (ready | _NEEDS_RESET) == ready and self._function.bus_master

    def has(self, feature: int) -> bool:
        """Whether the driver has taken a feature that was offered."""
        return bool(self.accepted & feature)

    def accept(self, features: int) -> None:
        """The driver says what it takes: all 64 bits; too late once FEATURES_OK is set."""
        if not self.status & _FEATURES_OK:
            self.accepted = features

    def set_status(self, value: int, *, legacy: bool = False) -> None:
        """The driver writes its status; 0 resets."""
        if value == 0:
            self.reset()
            return
        was_live, self.legacy = self.live, legacy
        status = value & Status.KNOWN & ~_NEEDS_RESET
        new = status & ~self.status
        if new & _FEATURES_OK and (legacy or not self._acceptable()):
            status &= ~_FEATURES_OK
        self.status = status | self.status & _NEEDS_RESET
        if self.live and not was_live:
            self._start()

    def place_legacy(self, queue: Queue, base: int) -> None:
        """A legacy driver says where a queue's rings are, which begins it anew; 0 takes it away."""
        if queue.busy:
            self._personality.abandon()
        vector = queue.vector
        queue.reset()
        queue.vector, queue.descriptors, queue.enabled = vector, base, base != 0
        queue.available, queue.used = legacy_rings(base, queue.size)
        self._negotiated()

    def reset(self) -> None:
        """From any state: forget the driver and what it has asked for."""
        self._clear()
        self._personality.abandon()
        self._personality.forget()

    def notify(self, number: int) -> None:
        """The driver says that a queue has new chains; one that is not there, or not enabled, has none."""
        if number < len(self.queues) and self.live and self.queues[number].enabled:
            if number in self._personality.inputs:
                self.guarded(partial(self._personality.refilled, number))
            elif number not in self._resumptions:
                self.guarded(partial(self._serve, number))

    def give(self, number: int, put: Callable[[Queue], bool]) -> bool:
        """Have ``put`` write to chains of an input queue and give them back; False where it finds not enough of them.

        True also where the device is not in use, or has just been broken: there is nobody to keep anything for.
        """
        enough = True

        def step() -> None:
            nonlocal enough
            enough = put(self.queues[number])
            self.show(number)

        if self.live and self.queues[number].enabled:
            self.guarded(step)
        return enough

    def complete(self, number: int, chain: Chain, finish: Callable[[], int]) -> None:
        """Give back a chain that ``serve`` has kept; ``finish`` writes to it and returns how many bytes that were."""

        def step() -> None:
            self.queues[number].push(chain, finish())
            self.show(number)

        if self.live:
            self.guarded(step)

    def show(self, number: int) -> None:
        """Show the driver the chains that were given back."""
        queue = self.queues[number]
        if queue.flush():
            self._signal(Isr.QUEUE, queue.vector)

    def config_changed(self) -> None:
        """Tell the driver that the device configuration is another."""
        self.generation = self.generation + 1 & 0xFF
        if self.status & _DRIVER_OK:
            self._signal(Isr.CONFIG, self.config_vector)

    def guarded(self, step: Callable[[], None]) -> None:
        """Do something with the queues; where the driver has broken them the device is broken, and says so."""
        try:
            step()
        except (QueueBroken, DmaError) as error:
            self.broken = str(error)
            self.status |= _NEEDS_RESET
            self._cancel()
            self._personality.abandon()
            self.config_changed()

    def state(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "legacy": self.legacy,
            "accepted": self.accepted,
            "generation": self.generation,
            "config_vector": self.config_vector,
            "broken": self.broken,
            "queues": [queue.state() for queue in self.queues],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        status, generation = saved_number(state["status"], 0xFF), saved_number(state["generation"], 0xFF)
        accepted, vector = saved_number(state["accepted"], (1 << 64) - 1), saved_number(state["config_vector"], 0xFFFF)
        if len(state["queues"]) != len(self.queues):
            raise ValueError("the state of a device with other queues")
        self._cancel()
        self._personality.abandon()
        self.status, self.generation, self.legacy = status, generation, bool(state["legacy"])
        self.accepted, self.config_vector, self.broken = accepted, vector, str(state["broken"])
        for queue, saved in zip(self.queues, state["queues"], strict=True):
            queue.restore(saved)
        self._negotiated()
        for number, queue in enumerate(self.queues):
            if queue.enabled:
                self._resume_later(number)

    def _acceptable(self) -> bool:
        if self.accepted & ~self.offered or not self.has(Feature.VERSION_1):
            return False
        return all(self.has(needs) for feature, needs in self._personality.requirements.items() if self.has(feature))

    def _negotiated(self) -> None:
        for queue in self.queues:
            queue.event_idx, queue.indirect = self.has(Feature.EVENT_IDX), self.has(Feature.INDIRECT_DESC)

    def _start(self) -> None:
        self._negotiated()
        for number in range(len(self.queues)):  # a driver may have filled them before, and notifies once
            self.notify(number)

    def _serve(self, number: int) -> None:
        queue, served, moved = self.queues[number], 0, 0
        chain = queue.pop()
        while chain is not None:
            if served == queue.size or moved >= STINT:
                queue.unpop(chain)
                self._resume_later(number)
                break
            written = self._personality.serve(number, chain)
            if written is not None:
                queue.push(chain, written)
            served, moved = served + 1, moved + chain.moved
            chain = queue.pop()
        self.show(number)

    def _resume_later(self, number: int) -> None:
        def resume() -> None:
            del self._resumptions[number]
            self.notify(number)

        self._resumptions[number] = self._after(0, resume)

    def _clear(self) -> None:
        self._cancel()
        self.status = self.accepted = self.generation = 0
        self.legacy = False
        self.broken = ""  # why the device needs a reset
        self.config_vector = NO_VECTOR
        for queue in self.queues:
            queue.reset()

    def _cancel(self) -> None:
        for timer in self._resumptions.values():
            timer.cancel()
        self._resumptions.clear()
