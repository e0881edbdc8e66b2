"""VIRTIO 1.2 over PCI, modern and transitional: one file for the transport, the virtqueues and each kind of device."""
