"""The virtual BIOS: what firmware tells an operating system about the machine, as bytes."""
