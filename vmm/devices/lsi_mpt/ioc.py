"""What the parts of the controller share: its state and what the driver told it by IOCInit."""

from __future__ import annotations

from dataclasses import dataclass, field

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import IocInit, IocState
from virtproof.vmm.devices.lsi_mpt.models import Model


def nobody() -> IocInit:
    """Return the IOCInit that nobody sent."""
    return IocInit.unpack(bytes(mpt.FRAME))


@dataclass(slots=True)
class Ioc:
    """``fault`` says why the state is FAULT."""

    model: Model
    state: IocState = IocState.READY
    fault: int = 0
    init: IocInit = field(default_factory=nobody)

    def reset(self) -> None:
        self.state, self.fault, self.init = IocState.READY, 0, nobody()

    def fail(self, why: int) -> None:
        """Stop working until a reset."""
        self.state, self.fault = IocState.FAULT, why
