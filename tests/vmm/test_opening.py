"""The engine that is asked for is opened, or why not is said."""

from __future__ import annotations

import pytest

from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine


def refuse(path: str = "/dev/kvm") -> Kvm:
    raise KvmUnavailable("kvm-device-missing", f"open {path}", "No such file or directory", "load kvm_intel or kvm_amd")


def test_an_engine_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="abacus"), open_engine("abacus"):
        pass


def test_kvm_without_its_device_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kvm, "open", refuse)
    with pytest.raises(EngineUnavailable, match="load kvm_intel"), open_engine("kvm"):
        pass


@pytest.mark.kvm
def test_auto_is_kvm_where_it_can_be_used() -> None:
    try:
        Kvm.open().close()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    with open_engine("auto") as engine:
        assert engine.name == "kvm"
