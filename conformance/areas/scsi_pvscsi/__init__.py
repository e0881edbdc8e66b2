"""The paravirtual SCSI adapter PVSCSI."""
