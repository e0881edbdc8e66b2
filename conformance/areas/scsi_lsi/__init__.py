"""SCSI: LSI's Fusion-MPT controllers, and what disks behind them answer."""
