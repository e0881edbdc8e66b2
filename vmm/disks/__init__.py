"""What disks are made of: files, copy-on-write overlays, rate limits."""
