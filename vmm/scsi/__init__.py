"""The SCSI target core: what a logical unit answers, whatever the controller in front of it."""
