"""Members of enumerations in a worker's answer: early releases of Python 3.11 pickle them as a call of ``getattr``."""

from __future__ import annotations

from typing import Any

import pytest

from virtproof.results import Verdict
from virtproof.vmm.worker import WorkerDied, WorkerPool


class Called:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner: Any, name: str) -> None:
        self.called = owner, name

    def __reduce__(self) -> tuple[Any, tuple[Any, str]]:
        return getattr, self.called


def answer(value: object) -> object:
    with WorkerPool(lambda item: value, 1) as pool:
        return next(pool.map(["item"], 20.0))[1]


def test_a_member_pickled_as_a_call_arrives() -> None:
    assert answer([Called(Verdict, "PASS"), Verdict.FAIL]) == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize("name", ["__members__", "mro", "PASS.name"])
def test_nothing_else_of_a_class_can_be_called_for(name: str) -> None:
    died = answer(Called(Verdict, name))
    assert isinstance(died, WorkerDied)
    assert "has no member" in died.how


def test_what_is_no_enumeration_has_no_members() -> None:
    died = answer([Called(Called(Verdict, "PASS"), "name")])
    assert isinstance(died, WorkerDied)
    assert "has no member" in died.how
