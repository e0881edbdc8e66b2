"""What the kernel's command line tells the validation image."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "virtproof."


class Then(StrEnum):
    """What the machine does when the results are delivered."""

    WAIT = "wait"
    POWEROFF = "poweroff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``out``: ``LABEL=...``, an HTTP(S) address, ``serial``, or empty: the console only.

    ``ip`` and ``bootif`` are what boot loaders say of the network (Linux Documentation/admin-guide/nfs/nfsroot.rst,
    "Kernel command line"; the PXELINUX option IPAPPEND).  ``wrong``: complaints for people.
    """

    out: str = ""
    then: Then = Then.WAIT
    profile: str = ""
    args: Sequence[str] = ()
    ip: str = ""
    bootif: str = ""
    wrong: Sequence[str] = ()

    @property
    def check(self) -> tuple[str, ...]:
        """The words for ``virtproof check``."""
        return (*(("--profile", self.profile) if self.profile else ()), *self.args)


def parse(line: str) -> Parameters:
    """Read a kernel command line.  The last of several parameters of one name counts, as for the kernel.

    What makes no sense is left out and named in ``wrong``: somebody stands before the console, and the check itself
    shall still run.
    """
    wrong = []
    given = {}
    for word in _words(line):
        name, _, value = word.partition("=")
        if name in {"ip", "BOOTIF"}:
            given[name.lower()] = value
        elif name.startswith(PREFIX):
            match name.removeprefix(PREFIX), value:
                case "out", out if not is_target(out):
                    wrong.append(f"{word}: results go to LABEL=..., http://..., https://... or serial")
                case "then", then if then not in list(Then):
                    wrong.append(f"{word}: it is one of {', '.join(Then)}")
                case ("out" | "then" | "profile" | "args") as key, text:
                    given[key] = text
                case _:
                    wrong.append(f"{word}: there is no such parameter")
    try:
        args = tuple(shlex.split(given.get("args", "")))
    except ValueError as err:
        args = ()
        wrong.append(f"{PREFIX}args: {err}")
    return Parameters(
        out=given.get("out", ""),
        then=Then(given.get("then", Then.WAIT)),
        profile=given.get("profile", ""),
        args=args,
        ip=given.get("ip", ""),
        bootif=given.get("bootif", ""),
        wrong=tuple(wrong),
    )


def is_target(out: str) -> bool:
    """Whether results can go there, by the words alone."""
    scheme, _, rest = out.partition("://")
    label = out.removeprefix("LABEL=")
    return out == "serial" or (scheme in {"http", "https"} and bool(rest)) or (label != out and bool(label))


def _words(line: str) -> list[str]:
    """Split as the kernel does: double quotes keep spaces together, nothing else is special."""
    words, word, quoted = [], "", False
    for character in line:
        if character == '"':
            quoted = not quoted
        elif character.isspace() and not quoted:
            words.append(word)
            word = ""
        else:
            word += character
    return [one for one in (*words, word) if one]
