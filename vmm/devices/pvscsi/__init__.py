"""VMware PVSCSI, the paravirtual SCSI adapter: ``adapter`` is the device, the rest its parts."""

from virtproof.vmm.devices.pvscsi.adapter import PvScsi

__all__ = ["PvScsi"]
