"""Runs cases on several engines and references, and says where they differ."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence

from virtproof.conformance.catalogue import all_cases
from virtproof.lab.references.bochs import Bochs
from virtproof.lab.references.differences import Kind, Known, Run, classify
from virtproof.lab.references.known import KNOWN
from virtproof.lab.references.qemu import Qemu
from virtproof.lab.references.reference import Reference
from virtproof.probes.profile import FOLDER, kernel_in, load_deviations
from virtproof.results import CaseResult
from virtproof.vmm.engine import Engine

ENGINES = ("kvm", "software")
REFERENCES: dict[str, Callable[[], Reference]] = {"bochs": Bochs.find, "qemu": Qemu.find}
PARTIES = (*ENGINES, *REFERENCES)


def find_reference(name: str) -> Reference:
    """Raises ``ReferenceMissing``, and Fault where it is there and does not work."""
    return REFERENCES[name]()


def name_of(engine: Engine) -> str:
    """As the table of differences names it: KVM by its backend."""
    return engine.backend.name if engine.name == "kvm" else engine.name


def known(kernel: str = "") -> Iterator[Known]:
    """All differences that are known, those of KVM on that kernel release (default: the running one) included."""
    yield from KNOWN
    for row in load_deviations(FOLDER / "deviations.toml"):
        if kernel_in(kernel or platform.release(), row.kernel):
            yield Known(
                id=row.id, on=row.backend, kind=Kind.KERNEL, cases=row.cases, reason=row.reason,
                source="; ".join(row.cite), sometimes="it depends on the processor and the kernel",
            )  # fmt: skip


def judge(name: str, results: Sequence[CaseResult]) -> Run:
    """What of the results is explained."""
    return classify(name, results, tuple(known()), (case.id for case in all_cases()))
