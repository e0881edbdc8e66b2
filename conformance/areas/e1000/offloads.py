"""What a driver leaves to the adapter: checksums, segmentation, tags.

A legacy descriptor with IC has one checksum inserted.  A context descriptor names the places of two, for the data
descriptors behind it, whose first says which are wanted; of frames to be cut it names the length of the headers and of a
segment as well.  Each segment gets the headers, with lengths, identification, sequence number and flags made right.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.e1000 import (
    HEADERS,
    OFFSETS,
    TCP,
    cases,
    context,
    done,
    frame,
    leaves,
    legacy,
    piece,
    read,
    sends,
    tcp,
    write,
)
from virtproof.spec.e1000 import CTRL, ICR, VET, Ctrl, Statistic
from virtproof.vmm.network.segment import checksum

legacy_format = cases("'Legacy Transmit Descriptor Format', 'Checksum Offset and Start - CSO and CSS'")
offload = cases("'TCP/IP Context Transmit Descriptor Format', 'TCP/IP Data Descriptor Format'")
cut = cases("'TCP Segmentation'")
vlan = cases("'802.1q VLAN Support', 'Transmitting and Receiving 802.1q Packets'")

PLAIN = frame(24) + bytes(2) + frame(34)
SUMMED = PLAIN[:24] + (~checksum(PLAIN, 14) & 0xFFFF).to_bytes(2, "big") + PLAIN[26:]
PAYLOAD = bytes(n * 7 & 0xFF for n in range(3000))
MSS = 1460
SEGMENTS = [
    tcp(PAYLOAD[at : at + MSS], ident=0x1234 + n, sequence=0x1000 + at, flags=0x19 if n == 2 else 0x10)
    for n, at in enumerate(range(0, len(PAYLOAD), MSS))
]
WHOLE = tcp(PAYLOAD, flags=0x19, sums=False)
VLAN_MODE = write(CTRL, Ctrl.vme.mask | 0x0014_0240)


def seeded(payload: bytes) -> bytes:
    """As a driver leaves one frame: the seed has the length in it."""
    bare = bytearray(tcp(payload, sums=False))
    length = len(payload) + HEADERS - TCP
    bare[50:52] = checksum(bytes(bare[50:52]) + length.to_bytes(2, "big")).to_bytes(2, "big")
    return bytes(bare)


ONE = b"one segment"
IP_ONLY = seeded(ONE)[:24] + tcp(ONE)[24:26] + seeded(ONE)[26:]
TCP_ONLY = seeded(ONE)[:50] + tcp(ONE)[50:52] + seeded(ONE)[52:]

# fmt: off
CASES: tuple[Case, ...] = (
    legacy_format("e1000.tx.csum_legacy_ic", "IC inserts the checksum from CSS on at CSO",
                  sends(legacy(PLAIN, ic=1, css=14, cso=24), legacy(PLAIN, css=14, cso=24)), leaves(SUMMED, PLAIN), priority=2),
    offload("e1000.tx.context_csum",  "A context and a data descriptor insert the checksums of IP and TCP",
            sends(context(OFFSETS, tcp=1, ip=1), piece(seeded(ONE), ixsm=1, txsm=1), piece(seeded(ONE), ixsm=1), piece(seeded(ONE), txsm=1), piece(seeded(ONE))),
            leaves(tcp(ONE), IP_ONLY, TCP_ONLY, seeded(ONE))),
    offload("e1000.tx.context_first", "The first data descriptor of a frame says which checksums are wanted",
            sends(context(OFFSETS, tcp=1, ip=1), piece(seeded(ONE)[:60], eop=0, ixsm=1, txsm=1), piece(seeded(ONE)[60:]),
                  piece(seeded(ONE)[:60], eop=0), piece(seeded(ONE)[60:], ixsm=1, txsm=1)),
            leaves(tcp(ONE), seeded(ONE))),
    offload("e1000.tx.context_both",  "There is a context for frames to be cut and one for others",
            sends(context(OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=MSS), context({"ipcss": 0, "ipcso": 0, "tucso": 2}, tcp=1),
                  piece(WHOLE, tse=1), context(OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=100), piece(WHOLE)),
            leaves(*SEGMENTS, WHOLE)),
    offload("e1000.tx.context_reports", "A context descriptor with RS gets DD",
            sends(context(OFFSETS, tcp=1, rs=1)), done(0), read(ICR, 3), leaves(), priority=2),
    cut("e1000.tx.tso_ipv4",          "TSE cuts a frame into segments with headers of their own",
        sends(context(OFFSETS, tcp=1, ip=1, tse=1, hdrlen=HEADERS, mss=MSS, paylen=len(PAYLOAD)),
              piece(WHOLE[:HEADERS], eop=0, tse=1, ixsm=1, txsm=1), piece(WHOLE[HEADERS:2000], eop=0, tse=1), piece(WHOLE[2000:], tse=1, rs=1)),
        done(3), read(Statistic.TSCTC, 1), read(Statistic.GPTC, 3), leaves(*SEGMENTS)),
    vlan("e1000.tx.vlan_insert",      "VLE inserts VET and the tag of the descriptor, in VLAN mode",
         VLAN_MODE, sends(legacy(frame(60), vle=1, special=0x64), legacy(frame(60), special=0x64)),
         leaves(frame(60)[:12] + bytes.fromhex("81000064") + frame(60)[12:], frame(60)), priority=2),
    vlan("e1000.tx.vlan_type",        "VET is the type of the tags that are inserted",
         VLAN_MODE, write(VET, 0x9100), sends(legacy(frame(60), vle=1, special=0x64)),
         leaves(frame(60)[:12] + bytes.fromhex("91000064") + frame(60)[12:]), priority=2),
    vlan("e1000.tx.vlan_mode",        "Without VLAN mode VLE does nothing", sends(legacy(frame(60), vle=1, special=0x64)), leaves(frame(60)), priority=3),
)
# fmt: on
