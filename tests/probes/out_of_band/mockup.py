"""A Redfish service on loopback, over TLS with a CA of its own: answers come from a table of documents."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

USER, PASSWORD = "reader", "pässword: with colon"
SYSTEM = "/redfish/v1/Systems/1"


def dell() -> dict[str, Any]:
    """A PowerEdge, reduced to what is asked for and what must not be kept."""
    return tree(
        {"Manufacturer": "Dell Inc.", "Model": "PowerEdge R740", "BiosVersion": "2.19.1", "SerialNumber": "SECRET1"},
        {
            "ProcVirtualization": "Enabled", "SriovGlobalEnable": "Disabled", "LogicalProc": "Enabled",
            "SystemServiceTag": "SECRET2", "AssetTag": "SECRET3", "TpmSecurity": "On",
        },
        {"SriovGlobalEnable": "Enabled"},
    )  # fmt: skip


def tree(system: dict[str, Any], attributes: dict[str, Any], pending: dict[str, Any]) -> dict[str, Any]:
    """The documents of a service with one system."""
    return {
        "/redfish/v1/": {"Systems": {"@odata.id": "/redfish/v1/Systems"}},
        "/redfish/v1/Systems": {"Members": [{"@odata.id": SYSTEM}]},
        SYSTEM: {
            **system,
            "Bios": {"@odata.id": f"{SYSTEM}/Bios"},
            "SecureBoot": {"@odata.id": f"{SYSTEM}/SecureBoot"},
        },
        f"{SYSTEM}/Bios": {
            "Attributes": attributes,
            "AttributeRegistry": "BiosAttributeRegistry.v1_0_0",
            "@Redfish.Settings": {"SettingsObject": {"@odata.id": f"{SYSTEM}/Bios/Settings"}},
        },
        f"{SYSTEM}/Bios/Settings": {"Attributes": pending},
        f"{SYSTEM}/SecureBoot": {
            "SecureBootEnable": True, "SecureBootCurrentBoot": "Enabled", "SecureBootMode": "DeployedMode",
        },
    }  # fmt: skip


@dataclass
class Mockup:
    """``documents``: path -> JSON document, raw bytes, or (status, headers, bytes).  ``requests``: what came."""

    documents: dict[str, Any]
    url: str = ""
    ca_file: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    silent: bool = False  # take a request and say nothing

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if authorization != f"Basic {word}" and path != "/redfish/v1/":
            return 401, {}, b'{"error": {}}'
        match self.documents.get(path):
            case None:
                return 404, {}, b"{}"
            case bytes() as raw:
                return 200, {}, raw
            case tuple() as ready:
                return ready
            case document:
                return 200, {}, json.dumps(document).encode()


@contextmanager
def serve(mockup: Mockup, folder: Path, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> Iterator[Mockup]:
    ca = trustme.CA()
    mockup.ca_file = str(folder / "ca.pem")
    ca.cert_pem.write_to_path(mockup.ca_file)
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mockup.requests.append((self.command, self.path))
            if mockup.silent:
                gone.wait()
                return
            status, headers, body = mockup.answer(self.path, self.headers["Authorization"])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that hangs up, which is what some tests are about

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        mockup.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield mockup
        finally:
            gone.set()
            server.shutdown()
            thread.join()
