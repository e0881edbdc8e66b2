"""Our devices behind the real kvm_amd: a case or two of each area, in one boot.  `make lab` runs all of them."""

from __future__ import annotations

import pytest

from virtproof.lab.hosts.execute import execute
from virtproof.lab.hosts.table import HOSTS
from virtproof.lab.missing import Missing
from virtproof.results import Verdict

# What KVM does for a device, and a monitor without it does not see: slots, routed lines, messages, exits.
CASES = (
    "bus.host.pam_shadow_rom", "bus.msix.pending_bit", "dma.order.desc_before_irq", "e1000.drv.interrupts",
    "fwcfg.dma_select_read", "hostile.pirq.garbage", "irq.intx.level_resample", "lsi.drv.interrupts",
    "pvscsi.drv.interrupts", "rtc.pie.irqs", "virtio.blk.by_interrupt", "virtio.net.by_interrupt",
    "vmxnet3.irq.driver",
)  # fmt: skip


@pytest.mark.lab
def test_devices_behind_the_real_kvm_amd(tmp_path):
    host = next(host for host in HOSTS if host.name == "amd-npt")
    try:
        outcome = execute(host, tmp_path, cases=CASES)
    except Missing as fault:
        pytest.skip(str(fault))
    assert outcome.errors == []
    verdicts = {one.id: one.verdict for one in outcome.cases}
    assert {name: verdicts[name] for name in CASES} == dict.fromkeys(CASES, Verdict.PASS)
