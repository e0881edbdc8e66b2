"""All facts, in the order people read them."""

from virtproof.probes.fact import Fact
from virtproof.probes.facts import (
    confidential,
    iommu,
    kernel,
    kvm,
    platform,
    processor,
    readiness,
    svm,
    uniformity,
    vmx,
)

ALL_FACTS: tuple[Fact, ...] = (
    *processor.FACTS,
    *uniformity.FACTS,
    *vmx.FACTS,
    *svm.FACTS,
    *confidential.FACTS,
    *kernel.FACTS,
    *kvm.FACTS,
    *iommu.FACTS,
    *platform.FACTS,
    *readiness.FACTS,
)
