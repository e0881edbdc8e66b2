"""Who the host is and what is behind its /dev/kvm, as runs and reports name them."""

from __future__ import annotations

from virtproof.probes.ask import Answers
from virtproof.probes.snapshot import Snapshot
from virtproof.results import Backend, Host


def host_of(answers: Answers) -> Host:
    """The host's identity.  What is unknown is empty; nothing here identifies a person or a serial number."""

    def text(*facts: str) -> str:
        words = (str(answers.value(fact) or "").strip() for fact in facts)
        return " ".join(filter(None, words))

    return Host(
        vendor=text("cpu.vendor"),
        cpu=text("cpu.name"),
        family_model_stepping=text("cpu.signature"),
        cpus=int(answers.value("cpu.count") or 0),
        microcode=text("cpu.microcode"),
        system=text("dmi.system", "dmi.product"),
        bios=text("dmi.bios_vendor", "dmi.bios_version", "dmi.bios_date"),
        kernel=text("kernel.release"),
        hypervisor=(text("hypervisor.name") or "of unknown make") if answers.yes("hypervisor.present") else "",
        boot_id=text("kernel.boot_id"),
    )


def backend_of(snapshot: Snapshot) -> Backend:
    """What is behind the host's /dev/kvm."""
    stored = snapshot.kvm("backend")
    if stored is None:
        return Backend(engine="none", name="unknown", software=None, detail="the snapshot does not say")
    return Backend(**stored)
