"""What a PC has beside its processors, memory and PCI devices: clock, power management, keyboard, reset, and fw_cfg.

    board = Board(machine, rom=bios)
    platform = Platform(board, ram=64 << 20, start=datetime.now())

The devices of ``vmm.devices`` at the ports where every PC has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from virtproof.spec import fw_cfg, i440fx, i8042, mc146818, pc_testdev, piix4
from virtproof.spec.fw_cfg import Feature, Key
from virtproof.spec.mc146818 import Cell
from virtproof.spec.pci import CONFIG_ADDRESS
from virtproof.vmm.board import Board
from virtproof.vmm.devices.apm import Apm
from virtproof.vmm.devices.debug_console import DebugConsole
from virtproof.vmm.devices.debug_exit import DebugExit
from virtproof.vmm.devices.fw_cfg import FwCfg, FwCfgDma
from virtproof.vmm.devices.i8042 import KeyboardController
from virtproof.vmm.devices.mc146818 import Rtc
from virtproof.vmm.devices.piix4_pm import Piix4Pm
from virtproof.vmm.devices.port92 import FastA20
from virtproof.vmm.devices.reset_control import ResetPort
from virtproof.vmm.events import Timer
from virtproof.vmm.machine import LOW_END

PM_FUNCTION = 3  # of the ISA bridge's device
FIRMWARE_LOG, BOCHS_LOG = 0x402, 0xE9
KIB, UNIT = 1 << 10, 64 << 10


class Platform:
    """The devices of one machine.

    ``ram`` is how many bytes it has, ``start`` its time of day.  ``reset_machine`` is called where the guest asks for a
    reset, ``sleep`` with the SLP_TYP of a guest that goes to sleep (0: it powers off), ``exit_machine`` with an exit
    status; each must stop the machine.  ``files`` and ``items`` are what fw_cfg has beside the machine's numbers.
    """

    def __init__(
        self,
        board: Board,
        *,
        ram: int,
        start: datetime,
        reset_machine: Callable[[], None] = lambda: None,
        sleep: Callable[[int], None] = lambda kind: None,
        exit_machine: Callable[[int], None] = lambda status: None,
        files: Mapping[str, bytes] | None = None,
        items: Mapping[int, bytes] | None = None,
        after: Callable[[int, Callable[[], None]], Timer] | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        self.board = board
        machine = board.machine
        vcpus, line = len(machine.vcpus), machine.interrupts.set_line
        after, now = after or machine.after, now or machine.events.clock.now
        self.rtc = Rtc(start, lambda level: line(mc146818.IRQ, level), after, now, cmos(ram, vcpus))
        self.pm = Piix4Pm(lambda level: line(piix4.SCI_IRQ, level), sleep, after, now)
        self.keyboard = KeyboardController(
            lambda level: line(i8042.KEYBOARD_IRQ, level), lambda level: line(i8042.AUX_IRQ, level), reset_machine
        )
        self.fast_a20 = FastA20(reset_machine)
        self.reset_port = ResetPort(reset_machine)
        self.apm = Apm(self.pm.own)
        self.firmware_log, self.bochs_log = DebugConsole(), DebugConsole()
        self.fw_cfg = FwCfg(numbers(ram, vcpus) | dict(items or {}), files or {})
        self.fw_cfg_dma = FwCfgDma(self.fw_cfg, machine.memory)
        self._wire(exit_machine)

    def _wire(self, exit_machine: Callable[[int], None]) -> None:
        ports = self.board.machine.bus.add_ports
        # fmt: off
        ports(mc146818.INDEX,        mc146818.PORTS,              self.rtc,                "RTC", width=1)
        ports(i8042.DATA,            1,                           self.keyboard,           "keyboard", width=1)
        ports(i8042.COMMAND,         1,                           self.keyboard.command,   "keyboard commands", width=1)
        ports(piix4.FAST_A20,        1,                           self.fast_a20,           "port 92", width=1)
        ports(piix4.APM_CONTROL,     2,                           self.apm,                "APM", width=1)
        ports(BOCHS_LOG,             1,                           self.bochs_log,          "port E9", width=1)
        ports(FIRMWARE_LOG,          1,                           self.firmware_log,       "firmware's log", width=1)
        ports(pc_testdev.DEBUG_EXIT, pc_testdev.DEBUG_EXIT_PORTS, DebugExit(exit_machine), "debug exit")
        ports(fw_cfg.SELECTOR,       fw_cfg.PORTS,                self.fw_cfg,             "fw_cfg", width=2)
        ports(fw_cfg.DMA,            fw_cfg.DMA_PORTS,            self.fw_cfg_dma,         "fw_cfg's DMA")
        # fmt: on
        self.board.config_ports.beside[piix4.RESET_CONTROL - CONFIG_ADDRESS] = self.reset_port
        self.board.add(self.pm, slot=i440fx.ISA_SLOT, number=PM_FUNCTION)

    def reset(self) -> None:
        """Reset these devices; those on the PCI bus are the board's."""
        for device in (self.rtc, self.keyboard, self.fast_a20, self.reset_port, self.apm, self.fw_cfg, self.fw_cfg_dma):
            device.reset()


def cmos(ram: int, vcpus: int) -> dict[int, int]:
    """What a PC's BIOS reads about the machine in the RTC's RAM."""
    low, high = min(ram, LOW_END), max(ram - LOW_END, 0)
    extended = min(max(low // KIB - 1024, 0), 0xFFFF)
    wide = {
        Cell.BASE_MEMORY: (2, 640),
        Cell.EXTENDED_MEMORY: (2, extended),
        Cell.EXTENDED_MEMORY_2: (2, extended),
        Cell.MEMORY_16M: (2, max(low - (16 << 20), 0) // UNIT),
        Cell.HIGH_MEMORY: (3, high // UNIT),
        Cell.EQUIPMENT: (1, 0x06),  # a floating-point unit, a PS/2 mouse port
        Cell.OTHER_PROCESSORS: (1, min(vcpus - 1, 0xFF)),
    }
    return {cell + at: value >> 8 * at & 0xFF for cell, (size, value) in wide.items() for at in range(size)}


def numbers(ram: int, vcpus: int) -> dict[int, bytes]:
    """The items of fw_cfg that are about the machine."""
    return {
        Key.SIGNATURE: fw_cfg.SIGNATURE,
        Key.ID: (Feature.PORTS | Feature.DMA).to_bytes(4, "little"),
        Key.RAM_SIZE: ram.to_bytes(8, "little"),
        Key.NO_GRAPHIC: bytes(2),
        Key.NB_CPUS: vcpus.to_bytes(2, "little"),
        Key.NUMA: bytes(8),
        Key.BOOT_MENU: bytes((1, 0)),
        Key.MAX_CPUS: vcpus.to_bytes(2, "little"),
        Key.ACPI_TABLES: bytes(2),
        Key.SMBIOS_ENTRIES: bytes(2),
        Key.IRQ0_OVERRIDE: bytes((1,)),
    }
