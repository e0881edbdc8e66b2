"""The client of a Redfish service: DMTF's ``redfish`` package, held to what an answer may be.

TLS is always verified, against the given CA file or the system's.  Redirections are followed within the service only,
an answer has a limit of bytes and of time, and compressed ones are not asked for.
"""

from __future__ import annotations

import base64
import io
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import certifi
import redfish
import requests
import urllib3

from virtproof.spec.fault import Fault

SECONDS = 15.0  # to connect, and between two pieces of an answer
ANSWER_SECONDS = 60.0  # for a whole answer: service processors are slow, but not that slow
MAX_ANSWER = 4 << 20  # bytes; the Bios resource of a large server has 200 KiB
PIECE = 64 << 10

STATUS = {401: "the user or the password is not accepted", 403: "this user may not read it", 404: "it is not there"}


@dataclass(frozen=True, slots=True)
class Service:
    """``url`` is ``https://HOST[:PORT]``, optionally with the path of a system.  ``ca_file``: whom to trust, as PEM."""

    url: str
    user: str
    password: str
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"Service({self.url!r}, {self.user!r})"  # never the password

    @property
    def system(self) -> str | None:
        """The path of the system, if the URL has one."""
        path = urlsplit(self.url).path.rstrip("/")
        return path if path.startswith("/redfish/v1/Systems/") else None


class Refused(requests.RequestException):
    """An answer that is none for us."""


class Bounded(requests.adapters.HTTPAdapter):
    """Reads an answer up to a limit, and follows none to another server."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = super().send(request, *args, **{**options, "stream": True})
        if response.is_redirect:
            target = urljoin(request.url or "", response.headers["location"])
            if urlsplit(target)[:2] != urlsplit(request.url or "")[:2]:
                raise Refused("it redirects to another server")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused("the answer is compressed, though that was not asked for")
        body = _body(response)
        response.close()
        response.raw = urllib3.HTTPResponse(
            body=io.BytesIO(body), headers=response.raw.headers, status=response.status_code, preload_content=False
        )
        return response


def _body(response: requests.Response) -> bytes:
    end = time.monotonic() + ANSWER_SECONDS
    pieces: list[bytes] = []
    size = 0
    while piece := response.raw.read1(PIECE):
        size += len(piece)
        if size > MAX_ANSWER:
            raise Refused(f"the answer has more than {MAX_ANSWER >> 20} MiB")
        if time.monotonic() > end:
            raise Refused(f"the answer is not complete after {ANSWER_SECONDS:.0f} s")
        pieces.append(piece)
    return b"".join(pieces)


def getter(service: Service) -> Callable[[str], object]:
    """What GETs a path of the service as JSON; raises ``Fault``.  Raises ``Fault`` for a URL that is not https."""
    parts = urlsplit(service.url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        raise Fault("use the Redfish service", "its URL is not of the form https://HOST", "give it so; never by http")
    client = redfish.redfish_client(
        base_url=f"https://{parts.netloc}",
        cafile=service.ca_file or ssl.get_default_verify_paths().cafile or certifi.where(),
        timeout=SECONDS,
        max_retry=0,
        check_connectivity=False,
        https_adapter=Bounded(),
    )
    # Basic authentication: a login would leave a session, and lines in the log of the service processor.
    word = base64.b64encode(f"{service.user}:{service.password}".encode()).decode("ascii")

    def get(path: str) -> object:
        try:
            answer = client.get(path, headers={"Authorization": f"Basic {word}"})
            status, body = answer.status, answer.text
        except (redfish.rest.v1.RetriesExhaustedError, requests.RequestException, ValueError, OSError) as error:
            raise Fault(f"GET {path}", _reason(error)) from error
        if status != 200:
            raise Fault(f"GET {path}", f"HTTP status {status}" + (f": {STATUS[status]}" if status in STATUS else ""))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Fault(f"GET {path}", "the answer is no JSON document") from error

    return get


def _reason(error: BaseException) -> str:
    """Why there is no answer, without the service's address: the text goes into the snapshot."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for one in chain:
        match one:
            case Refused():
                return str(one)
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {one.verify_message}"
            case requests.exceptions.Timeout() | TimeoutError() | urllib3.exceptions.ReadTimeoutError():
                return f"no answer within {SECONDS:.0f} s"
    for one in reversed(chain):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return f"the connection failed ({type(chain[-1]).__name__})"
