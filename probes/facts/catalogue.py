"""All facts, in the order people read them."""

from virtproof.probes.fact import Fact
from virtproof.probes.facts import iommu, kernel, platform, processor, svm, vmx

ALL_FACTS: tuple[Fact, ...] = (
    *processor.FACTS,
    *vmx.FACTS,
    *svm.FACTS,
    *kernel.FACTS,
    *iommu.FACTS,
    *platform.FACTS,
)
