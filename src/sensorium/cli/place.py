"""Where a server listens: its socket, its address for people and for browsers; and whether there is a screen here."""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address

from sensorium.errors import SensoriumError


@dataclass(frozen=True)
class Place:
    """host: as whoever runs the server named it; sock: listens there already, so that nobody is turned away."""

    host: str
    sock: socket.socket

    @property
    def number(self) -> str:
        """The machine's own address that it listens at."""
        return str(self.sock.getsockname()[0])

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return ip_address(self.number).is_loopback

    @property
    def address(self) -> str:
        return self._at(self.host)

    @property
    def for_browser(self) -> str:
        """Its address for a browser on this machine, which "every address" is none for."""
        return self._at({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))

    def _at(self, host: str) -> str:
        return f"http://{_bracketed(host)}:{self.sock.getsockname()[1]}"


def listen(host: str, port: int) -> Place:
    """A socket that listens there; port 0: any that is free.

    Raises SensoriumError when the port is taken or the address is not ours.
    """
    where, remedy = f"{_bracketed(host)}:{port}", "Choose an address of this machine as --host."
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # ValueError: a name that no name server could have
        raise SensoriumError(where, f"is no address ({getattr(error, 'strerror', error)}).", remedy) from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(128)  # from now on callers wait, though the server needs a moment more
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRNOTAVAIL:
            remedy = "Choose another --port."
        raise SensoriumError(where, f"cannot be served at ({error.strerror}).", remedy) from error
    return Place(host, sock)


def is_on_a_desktop() -> bool:
    """Whether a person sits before a screen here: a terminal, and a display of this machine."""
    if not sys.stderr.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
