"""Four lab hosts, with what the distribution packages: sound, without the feature, off in firmware, forbidden.

On the sound one our devices are tried, too, behind the real kvm_amd: a case or two of each area.  ``make lab`` runs all.
"""

from __future__ import annotations

import pytest

from virtproof.lab.hosts.compare import mismatches
from virtproof.lab.hosts.execute import PROVING, execute
from virtproof.lab.hosts.table import HOSTS
from virtproof.lab.missing import Missing
from virtproof.results import Verdict

# What KVM does for a device, and a monitor alone does not see: slots, routed lines, messages, exits.
DEVICES = (
    "bus.host.pam_shadow_rom", "bus.msix.pending_bit", "dma.order.desc_before_irq", "e1000.drv.interrupts",
    "fwcfg.dma_select_read", "hostile.pirq.garbage", "irq.intx.level_resample", "lsi.drv.interrupts",
    "pvscsi.drv.interrupts", "rtc.pie.irqs", "virtio.blk.by_interrupt", "virtio.net.by_interrupt",
    "vmxnet3.irq.driver",
)  # fmt: skip
SMALL = {"amd-npt": DEVICES, "amd-no-svm": (), "kvm-no-permission": (), "intel-locked-off": ()}


@pytest.mark.lab
@pytest.mark.parametrize("name", SMALL)
def test_virtproof_names_what_is_wrong_with_the_host(name, tmp_path):
    host = next(host for host in HOSTS if host.name == name)
    try:
        outcome = execute(host, tmp_path, cases=(*PROVING, *SMALL[name]))
    except Missing as fault:
        pytest.skip(str(fault))
    assert outcome.errors == []
    assert outcome.run is not None
    assert [str(one) for one in mismatches(host.expected, outcome.run)] == []
    assert outcome.unexplained == ()
    verdicts = {one.id: one.verdict for one in outcome.cases}
    assert {case: verdicts[case] for case in SMALL[name]} == dict.fromkeys(SMALL[name], Verdict.PASS)
