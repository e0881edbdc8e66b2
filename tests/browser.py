"""A headless Chromium for tests and for the pictures of docs/, driven by the Chrome DevTools Protocol over a pipe.

One browser serves many pages; everything that is waited for is an answer or an event of the protocol, never a time.
Nothing of it reaches for a network: only ``file:`` addresses are opened, and background services are off.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 300.0  # seconds for one answer, on however busy a machine: only a browser that hangs takes so long
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--hide-scrollbars", "--force-device-scale-factor=1", "--remote-debugging-pipe",
)  # fmt: skip
CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "/": 191,
}  # keys that are not letters: "Windows virtual key code"

Message = dict[str, Any]


class BrowserFailed(Exception):
    """The browser ended, did not answer, or refused a command."""


class Browser:
    """A Chromium of its own, with an empty profile below ``folder``."""

    def __init__(self, folder: Path) -> None:
        if not CHROMIUM:
            raise BrowserFailed("no chromium on this machine (Debian: chromium)")
        self._number = 0
        self._data = b""
        self._events: list[Message] = []
        with ExitStack() as stack:
            # The protocol's places are descriptors 3 (commands) and 4 (answers), which only the browser shall hold.
            theirs_in, self._commands = os.pipe()
            self._answers, theirs_out = os.pipe()
            stack.callback(os.close, theirs_in)
            stack.callback(os.close, theirs_out)
            place = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
            script = ["bash", "-c", place, "bash", str(theirs_in), str(theirs_out), CHROMIUM, *FLAGS]
            self._process = subprocess.Popen(
                [*script, f"--user-data-dir={folder / 'chromium'}", "about:blank"],
                pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it and all of its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def command(self, method: str, session: str | None = None, **parameters: object) -> Message:
        """The result of one command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            said = self._next()
            if said.get("id") != self._number:
                self._events.append(said)
            elif "error" in said:
                raise BrowserFailed(f"{method}: {said['error']}")
            else:
                result: Message = said["result"]
                return result

    def event(self, method: str, session: str) -> Message:
        """The parameters of the first event of a kind, of those that came already or of those to come."""
        while True:
            for said in self._events:
                if (said.get("method"), said.get("sessionId")) == (method, session):
                    self._events.remove(said)
                    parameters: Message = said["params"]
                    return parameters
            self._events.append(self._next())

    def _next(self) -> Message:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._data:
            if not select.select([self._answers], [], [], max(end - time.monotonic(), 0))[0]:
                raise BrowserFailed(f"no answer for {PATIENCE:.0f} s")
            if not (data := os.read(self._answers, 1 << 16)):
                raise BrowserFailed("the browser ended")
            self._data += data
        line, _, self._data = self._data.partition(b"\0")
        message: Message = json.loads(line)
        return message

    def page(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False, media: str = "") -> Page:
        """A page that has loaded, laid out by a window of so many CSS pixels; ``media`` "print" is that of paper."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.command(f"{domain}.enable")
        page.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.command("Emulation.setEmulatedMedia", media=media, features=[scheme])
        page.open(address)
        return page


@dataclass
class Page:
    """One tab."""

    browser: Browser
    target: str
    session: str
    said: list[str] = field(default_factory=list)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.browser.command("Target.closeTarget", targetId=self.target)

    def command(self, method: str, **parameters: object) -> Message:
        return self.browser.command(method, self.session, **parameters)

    def open(self, address: str) -> None:
        """Go there, and wait for the load event."""
        self.command("Page.navigate", url=address)
        self.browser.event("Page.loadEventFired", self.session)

    def run(self, script: str) -> Any:
        """What ``script``, the body of an async function, returns.  The page's content policy stays in force."""
        told = self.command(
            "Runtime.evaluate", expression=f"(async () => {{ {script} }})()", awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        if failed := told.get("exceptionDetails"):
            raise BrowserFailed(str(failed.get("exception", failed).get("description", failed)))
        return told["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press and release keys, as somebody at a keyboard does; ``Shift+Tab`` names a modifier."""
        for key in keys:
            name = key.removeprefix("Shift+")
            event = {"key": name, "modifiers": 8 * (name != key), "windowsVirtualKeyCode": CODES.get(name, 0)}
            text = {"text": "\r" if name == "Enter" else name} if name == "Enter" or len(name) == 1 else {}
            self.command("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event, **text)
            self.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Put text in where the focus is."""
        self.command("Input.insertText", text=text)

    def complaints(self) -> list[str]:
        """What the browser logged until now: errors of scripts, and what the content policy refused."""
        self.run("return 0;")
        for event in self._ours(("Log.entryAdded", "Runtime.exceptionThrown")):
            entry = event.get("entry") or event["exceptionDetails"]
            self.said.append(str(entry.get("text")))
        return self.said

    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        self.run("return 0;")
        return [str(event["request"]["url"]) for event in self._ours(("Network.requestWillBeSent",))]

    def _ours(self, methods: Iterable[str]) -> list[Mapping[str, Any]]:
        mine = [said for said in self.browser._events if said.get("sessionId") == self.session]
        return [said["params"] for said in mine if said.get("method") in set(methods)]

    def cut_off(self) -> list[str]:
        """What lies beyond the right edge and cannot be scrolled to, when everything is open."""
        found: list[str] = self.run("""
            dispatchEvent(new Event("beforeprint"));
            const scrolls = (e) => e && (getComputedStyle(e).overflowX === "auto" || scrolls(e.parentElement));
            const wide = (e) => e.getBoundingClientRect().width > 1 && e.getBoundingClientRect().right > innerWidth + 1;
            return [...document.querySelectorAll("body *")].filter((e) => wide(e) && !scrolls(e.parentElement))
                .map((e) => e.outerHTML.slice(0, 150));
        """)
        return found

    def axe(self) -> list[str]:
        """What axe-core finds wrong when everything is open: the rule, how often, and where first."""
        source = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        self.run("dispatchEvent(new Event('beforeprint'));")
        self.command("Runtime.evaluate", expression=source)
        passes, violations = self.run("""
            const found = await axe.run();
            return [found.passes.length, found.violations.map((v) => `${v.id}: ${v.nodes.length} ${v.nodes[0].html}`)];
        """)
        assert passes > 20, "it looked at the page"
        return list(violations)

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        made = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(made["data"])

    def paper(self) -> bytes:
        """The page as a PDF, as printing it would give (A4)."""
        made = self.command(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False, preferCSSPageSize=True
        )
        return base64.b64decode(made["data"])
