"""QEMU's qtest protocol over the monitor's device models: no processor, only what tests ask of devices."""
