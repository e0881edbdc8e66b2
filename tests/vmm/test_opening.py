"""The engine that is asked for is opened, or why not is said."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine
from virtproof.vmm.engines.software import layout


def refuse(path: str = "/dev/kvm") -> Kvm:
    raise KvmUnavailable("kvm-device-missing", f"open {path}", "No such file or directory", "load kvm_intel or kvm_amd")


def test_an_engine_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="abacus"), open_engine("abacus"):
        pass


def test_kvm_without_its_device_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kvm, "open", refuse)
    with pytest.raises(EngineUnavailable, match="load kvm_intel"), open_engine("kvm"):
        pass


def test_auto_is_the_software_engine_where_there_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("unicorn")
    monkeypatch.setattr(Kvm, "open", refuse)
    with open_engine("auto") as engine:
        assert engine.name == "software"
        assert not engine.backend.speaks_of_host


def test_without_either_both_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kvm, "open", refuse)
    unavailable = layout.SoftwareUnavailable("start the software engine", "no unicorn", layout.REMEDY)
    monkeypatch.setattr(layout, "check", Mock(side_effect=unavailable))
    with pytest.raises(EngineUnavailable, match=r"No such file.*software engine") as raised, open_engine("auto"):
        pass
    assert "load kvm_intel" in raised.value.remedy
    assert "virtproof[software]" in raised.value.remedy


@pytest.mark.kvm
def test_auto_is_kvm_where_it_can_be_used() -> None:
    try:
        Kvm.open().close()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    with open_engine("auto") as engine:
        assert engine.name == "kvm"
