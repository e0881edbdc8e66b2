"""Intel 8254x, what lies in memory: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual"
(317453), "Receive and Transmit Description".

A descriptor is 16 bytes: an address, or in a context descriptor what comes in its place, and a word described here.
"""

from virtproof.spec.bits import Bits, bit, bits

SIZE = 16
STATUS_OFFSET = 12  # of the byte that is written back to a transmit descriptor


# fmt: off
class Receive(Bits, width=64):
    """ "Receive Descriptor"; the upper half of what the controller writes."""

    length   = bits(15, 0)
    checksum = bits(31, 16, "of the frame from RXCSUM.PCSS on")
    dd       = bit(32, "done")
    eop      = bit(33, "the frame ends here")
    ixsm     = bit(34, "IPCS and TCPCS mean nothing")
    vp       = bit(35, "it had a tag, which is in SPECIAL")
    tcpcs    = bit(37, "the checksum of TCP or UDP was looked at")
    ipcs     = bit(38, "the checksum of the IP header was looked at")
    pif      = bit(39, "the multicast table let it in: software has to look")
    ce       = bit(40)
    tcpe     = bit(45)
    ipe      = bit(46)
    rxe      = bit(47)
    special  = bits(63, 48)


class Legacy(Bits, width=64):
    """ "Legacy Transmit Descriptor Format"."""

    length = bits(15, 0)
    cso    = bits(23, 16, "where the checksum goes, with IC")
    eop    = bit(24)
    ifcs   = bit(25, "insert the CRC")
    ic     = bit(26)
    rs     = bit(27, "write back DD")
    rps    = bit(28)
    dext   = bit(29, "0; 1: one of the next two formats")
    vle    = bit(30, "insert a tag")
    ide    = bit(31, "delay the interrupt")
    dd     = bit(32)
    css    = bits(47, 40, "where the checksum starts")
    special = bits(63, 48)


class Data(Bits, width=64):
    """ "TCP/IP Data Descriptor Format"."""

    length = bits(19, 0)
    dtyp   = bits(23, 20, "1")
    eop    = bit(24)
    ifcs   = bit(25)
    tse    = bit(26)
    rs     = bit(27)
    rps    = bit(28)
    dext   = bit(29)
    vle    = bit(30)
    ide    = bit(31)
    dd     = bit(32)
    ixsm   = bit(40, "insert the checksum of IP; of the frame's first descriptor, as the next")
    txsm   = bit(41, "insert that of TCP or UDP")
    special = bits(63, 48)


class ContextOffsets(Bits, width=64):
    """ "TCP/IP Context Transmit Descriptor Format", in place of the address; an end of 0 is that of the frame."""

    ipcss = bits(7, 0)
    ipcso = bits(15, 8)
    ipcse = bits(31, 16, "the last byte that counts")
    tucss = bits(39, 32)
    tucso = bits(47, 40)
    tucse = bits(63, 48)


class Context(Bits, width=64):
    """ "TCP/IP Context Transmit Descriptor Format"."""

    paylen = bits(19, 0)
    dtyp   = bits(23, 20, "0")
    tcp    = bit(24, "0: UDP")
    ip     = bit(25, "IPv4")
    tse    = bit(26, "the context of frames to be cut")
    rs     = bit(27)
    dext   = bit(29)
    ide    = bit(31)
    dd     = bit(32)
    hdrlen = bits(47, 40)
    mss    = bits(63, 48)
# fmt: on

CONTEXT, DATA = 0, 1  # DTYP
