"""The registers of COM1 as ports, and rows that drive it step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from virtproof.conformance.case import Row, family
from virtproof.conformance.steps import Step, steps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec import uart16550 as uart
from virtproof.spec.cite import Cite

RBR = THR = DLL = uart.COM1 + uart.DATA  # DLL and DLM while LCR.DLAB is set
IER = DLM = uart.COM1 + uart.IER
IIR = FCR = uart.COM1 + uart.IIR_FCR
LCR = uart.COM1 + uart.LCR
MCR = uart.COM1 + uart.MCR
LSR = uart.COM1 + uart.LSR
MSR = uart.COM1 + uart.MSR
SCR = uart.COM1 + uart.SCR


def data_sheet(where: str) -> Cite:
    return Cite("National Semiconductor PC16550D data sheet", where)


def uart_family(*cite: Cite) -> Callable[..., Row]:
    """A maker of rows of the area "serial": id, title, steps, and as ``sends`` what must leave the UART."""
    make = family("serial", *cite, serial=True)

    def row(id: str, title: str, *sequence: Step, sends: bytes = b"", **more: Any) -> Row:  # noqa: A002
        return make(id, title, Mode.LONG64, **steps(*sequence), serial_output=sends, **more)

    return row
