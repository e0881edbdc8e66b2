"""VMXNET3, VMware's paravirtual network adapter, as a driver sees it."""
