"""Commands of one controller that wait until their disk may be used: they can be aborted, and never outlive a reset."""

from collections.abc import Callable
from typing import Generic, TypeVar

from virtproof.vmm.events import After, Timer

Task = TypeVar("Task")


class Tasks(Generic[Task]):
    """``run(task)`` is called once for each that is not cancelled; the controller bounds their number."""

    def __init__(self, after: After, run: Callable[[Task], None]) -> None:
        self._after, self._run = after, run
        self._waiting: dict[int, tuple[Task, Timer]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> list[Task]:
        """In the order of their coming."""
        return [task for task, _ in self._waiting.values()]

    def submit(self, task: Task, delay: int) -> None:
        """Run it, after ``delay`` nanoseconds."""
        if not delay:
            self._run(task)
            return
        number = self._next
        self._next += 1
        self._waiting[number] = task, self._after(delay, lambda: self._run(self._waiting.pop(number)[0]))

    def cancel(self, which: Callable[[Task], bool] = lambda task: True) -> list[Task]:
        """Take out those for which ``which`` holds; they are never run."""
        numbers = [number for number, (task, _) in self._waiting.items() if which(task)]
        found = [self._waiting.pop(number) for number in numbers]
        for _, timer in found:
            timer.cancel()
        return [task for task, _ in found]
