"""LSI Logic 53C1030 and SAS1068: SCSI controllers with the Fusion-MPT message interface."""

from virtproof.vmm.devices.lsi_mpt.adapter import LsiMpt

__all__ = ["LsiMpt"]
