"""Cases of network adapters on QEMU's models of them: they observe there what they observe on ours."""

from __future__ import annotations

import shutil
from functools import partial
from typing import NamedTuple

import pytest

from virtproof.conformance.case import HostScript
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.device_script import ConfigWrite
from virtproof.conformance.vmxnet3_driver import FUNCTION, MESSAGES, PT, SLOT, VD
from virtproof.lab.references.booted import walk

QEMU = shutil.which("qemu-system-x86_64") or ""
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64 on this machine: apt-get install qemu-system-x86"),
]
VMXNET3 = "vmxnet3,netdev=loop,mac=52:54:00:12:34:56"
CASES = {case.id: case for case in all_cases()}
PLACED = (
    *(ConfigWrite(FUNCTION, 0x10 + 4 * number, 4, at) for number, at in enumerate((PT, VD, MESSAGES))),
    ConfigWrite(FUNCTION, 0x04, 2, 7),
)
# Cases in which nothing but the guest acts; what was sent is looked at on our model only.
SAME = (
    "pci.identity", "pci.msix25", "vrrs.read", "uvrs.read", "vrrs.select", "mac.perm", "link.up", "did", "conf_intr",
    "cmd.unknown",
    "dsa.latch", "activate.ok", "activate.bad_magic", "activate.clears_comp", "activate.tx_threshold",
    "tx.one", "tx.len0_16384", "tx.gen_stops", "tx.gen_flip", "tx.multi_frag",
    "tx.csum", "tx.tso", "tx.vlan", "tx.data_ring",
    "tx.queues", "irq.masked", "irq.automask", "irq.intx_icr",
)  # fmt: skip


class Different(NamedTuple):
    """``saw``: what QEMU shows, by what was read; all else is as it should be."""

    why: str
    saw: dict[str, str]


# fmt: off
DIFFERENT = {
    "mac.reset": Different("QEMU keeps the address that the driver set; Linux and iPXE set it again after each reset",
        {"4-byte load 0xe0001028": "0x2", "4-byte load 0xe0001030": "0xaa00"}),
    "imr.reset": Different("QEMU's IMR is written, but reads 1",
        {"4-byte load 0xe0000008": "0x1"}),
    "irq.disable_all": Different("QEMU does not look at intrCtrl",
        {"interrupts of vector 0x50": "0x1"}),
    "queue_status": Different("QEMU drops what it cannot read, and never writes the state of a queue",
        {"1-byte load 0x201050": "0x55", "4-byte load 0x201054": "0x55555555",
         "1-byte load 0x201150": "0x55", "4-byte load 0x201154": "0x55555555"}),
    "tx.no_completion": Different("QEMU completes every packet, CQ or not; drivers that others wrote always set it",
        {"4-byte load 0x220000 & 0xfff": "0x0", "4-byte load 0x22001c": "0x80000000"}),
}
# fmt: on


def differs(name: str) -> dict[str, str]:
    """What a case of VMXNET3 reads otherwise on QEMU's adapter, and what it reads."""
    case = CASES[f"vmxnet3.{name}"]
    assert isinstance(case, HostScript)
    assert isinstance(case.script, partial)
    devices = ("-netdev", "hubport,id=loop,hubid=0", "-device", f"{VMXNET3},addr={SLOT}")
    checks = walk(QEMU, (*PLACED, *case.script.keywords["steps"]), devices)
    return {one.field: one.observed for one in checks if not one.ok}


@pytest.mark.parametrize("name", SAME)
def test_vmxnet3_is_as_qemus(name: str) -> None:
    assert differs(name) == {}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_that_is_known_is_there(name: str) -> None:
    assert differs(name) == DIFFERENT[name].saw
