"""VIRTIO 1.2, "Console Device": one port, without its optional features."""

RECEIVE, TRANSMIT = range(2)  # queues
