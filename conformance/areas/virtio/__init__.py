"""Virtio over PCI: the transport, virtqueues and the devices of each kind."""
