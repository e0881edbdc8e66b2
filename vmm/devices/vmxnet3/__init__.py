"""VMXNET3, VMware's paravirtual network adapter: ``adapter`` is the device, the rest its parts."""
