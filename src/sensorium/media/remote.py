"""Fetch a picture or video that a stranger names by its address, so that only public machines are ever asked.

The host is resolved here, every address it stands for is checked, and the connection goes to a checked address and to
no name: a name server that answers otherwise a moment later changes nothing. Certificates are still verified by name.
Each redirect begins anew. What comes is limited in size while it is read and in time from the first step to the last,
and is judged by its bytes, never by what the other side calls it.

Imported by whoever fetches, and not by `sensorium.media`: h11 belongs to the extra `serve`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin

import h11
from pydantic import BaseModel, ConfigDict, Field

from sensorium import __version__
from sensorium.errors import SensoriumError
from sensorium.media.addresses import WebAddress, is_public, parse_web_address, shown
from sensorium.media.images import ImageLimits, image_size
from sensorium.media.video import VideoLimits, video_info

REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 65536
_TRIED = 4  # addresses of one host


class RemoteLimits(BaseModel):
    """hosts: if there are any, only these and what lies below them (`example.org` allows `www.example.org`).

    timeout_s: from the first step to the last, redirects included; image, video: what is fetched, in bytes and pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = ()
    timeout_s: float = Field(default=10, gt=0)
    max_redirects: int = Field(default=3, ge=0)
    image: ImageLimits = ImageLimits(max_bytes=16 * 2**20)
    video: VideoLimits = VideoLimits(max_bytes=64 * 2**20)


@dataclass(frozen=True)
class _Moved:
    """Where the other side says that the thing is now."""

    location: str


@dataclass(frozen=True)
class _Wanted:
    """noun: what is fetched, in errors; accept: the header's value."""

    noun: str
    accept: str
    max_bytes: int


async def fetch_image(url: str, limits: RemoteLimits) -> bytes:
    """The encoded picture at an address, its header read and found within the limits.

    Raises SensoriumError for an address that may not be asked, and for whatever goes wrong on the way.
    """
    wanted = _Wanted("picture", "image/*", limits.image.max_bytes)
    return await _fetch(url, limits, wanted, lambda data: image_size(data, limits.image))


async def fetch_video(url: str, limits: RemoteLimits) -> bytes:
    """The video at an address, its header read and found within the limits; of its frames one is decoded.

    Raises SensoriumError as `fetch_image` does.
    """
    wanted = _Wanted("video", "video/*", limits.video.max_bytes)
    return await _fetch(url, limits, wanted, lambda data: video_info(data, limits.video))


async def _fetch(url: str, limits: RemoteLimits, wanted: _Wanted, look: Callable[[bytes], object]) -> bytes:
    """look: at what has come; raises SensoriumError when it is not worth keeping."""
    where = shown(url)
    try:
        async with asyncio.timeout(limits.timeout_s):
            data = await _follow(url, limits, wanted)
            await asyncio.to_thread(look, data)  # what it is, by its bytes
            return data
    except TimeoutError:
        raise SensoriumError(where, f"did not come within {limits.timeout_s:g} s.") from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise SensoriumError(where, f"cannot be fetched ({_reason(error)}).") from error
    except SensoriumError as error:
        place = where if error.where == where else f"{where}: {error.where}"
        raise SensoriumError(place, error.what, error.remedy) from error


async def _follow(url: str, limits: RemoteLimits, wanted: _Wanted) -> bytes:
    address = parse_web_address(url)
    for _ in range(limits.max_redirects + 1):
        found = await _ask(address, limits, wanted)
        if isinstance(found, bytes):
            return found
        moved = parse_web_address(_joined(address, found.location))
        if (address.scheme, moved.scheme) == ("https", "http"):
            raise SensoriumError(shown(str(moved)), "is not encrypted, and an encrypted address leads there.")
        address = moved
    raise SensoriumError(shown(str(address)), f"is the end of more than {limits.max_redirects} redirects.")


def _joined(address: WebAddress, location: str) -> str:
    try:
        return urljoin(str(address), location)
    except ValueError as error:
        raise SensoriumError(shown(location), f"is no web address ({error}), and a redirect leads there.") from error


async def _ask(address: WebAddress, limits: RemoteLimits, wanted: _Wanted) -> bytes | _Moved:
    _check_host(address, limits.hosts, wanted.noun)
    numbers = await _resolve(address)
    reader, writer = await _connect(address, numbers)
    try:
        return await _exchange(address, reader, writer, wanted)
    finally:
        writer.transport.abort()  # no farewell to wait for


def _check_host(address: WebAddress, hosts: tuple[str, ...], noun: str) -> None:
    allowed = [host.lower().strip(".") for host in hosts]
    if allowed and not any(address.host == host or address.host.endswith(f".{host}") for host in allowed):
        what = f"is not at {' or '.join(allowed)}, where {noun}s may come from."
        raise SensoriumError(shown(str(address)), what)


async def _resolve(address: WebAddress) -> list[str]:
    """The numeric addresses of a host, all of them public. One that is not spoils the others: such a name is a trap."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    numbers = list(dict.fromkeys(str(place[0]) for *_, place in found))
    if not numbers or not all(map(is_public, numbers)):
        # One answer to both: whoever asks does not learn which names this machine's neighbours have.
        raise SensoriumError(shown(str(address)), "is not on a machine of the public internet.")
    return numbers[:_TRIED]


async def _connect(address: WebAddress, numbers: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to one of these very addresses; encrypted ones have a certificate of the host's name."""
    error: OSError | None = None
    for number in numbers:
        try:
            if address.scheme == "http":
                return await asyncio.open_connection(number, address.port)
            return await asyncio.open_connection(number, address.port, ssl=_tls(), server_hostname=address.host)
        except ssl.SSLCertVerificationError:
            raise
        except OSError as failed:
            error = failed
    assert error is not None
    raise error


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _exchange(
    address: WebAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wanted: _Wanted
) -> bytes | _Moved:
    """One request and its answer."""
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", address.host_header), ("User-Agent", f"sensorium/{__version__}"), ("Accept", wanted.accept),
               ("Accept-Encoding", "identity"), ("Connection", "close")]
    asked = h11.Request(method="GET", target=address.target, headers=headers)
    writer.write((connection.send(asked) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    data = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            if moved := _judge(address, event, wanted):
                return moved
        elif isinstance(event, h11.Data):
            data += event.data
            if len(data) > wanted.max_bytes:
                raise _too_large(address, wanted)
        elif isinstance(event, h11.EndOfMessage):
            return bytes(data)


def _judge(address: WebAddress, answer: h11.Response, wanted: _Wanted) -> _Moved | None:
    """What the head of an answer says: go on reading (None), or where else to ask. Raises SensoriumError."""
    headers = {name.decode(): value.decode(errors="replace").strip() for name, value in answer.headers}
    where, status = shown(str(address)), answer.status_code
    if status in REDIRECTS and "location" in headers:
        return _Moved(headers["location"])
    if status != 200:
        raise SensoriumError(where, f"answered with status {status}.", "Check the address.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        # Unpacking could make a gigabyte of a few bytes; pictures are packed already.
        raise SensoriumError(where, "came packed though that was not asked for.")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > wanted.max_bytes:
        raise _too_large(address, wanted)
    return None


def _too_large(address: WebAddress, wanted: _Wanted) -> SensoriumError:
    what = f"has more than {wanted.max_bytes:,} bytes."
    return SensoriumError(shown(str(address)), what, f"Make the {wanted.noun} smaller.")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    if isinstance(error, h11.RemoteProtocolError):
        return "the answer is no HTTP, or broke off"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:120]
