"""Intel 82540EM and 82545EM, the gigabit adapters that drivers call e1000, each with a copper PHY.

"PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453).  ``nic.E1000`` is the whole.

Omitted: power management and wake-up, flow control, the flash, the link of fibre (TBI), segmentation of UDP, checksums
of received IPv6, TXD_LOW and small-packet interrupts, access to the packet buffer, writes to the EEPROM.  Sending takes
no time, frames are never damaged, and the check sequence of a frame is not carried: IFCS makes no difference, and what
is stored without RCTL.SECRC is computed.  The reset values of MTA and VFTA, which the manual leaves open, are 0.
"""
