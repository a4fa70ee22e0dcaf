"""Which web addresses may be fetched for somebody far away: http(s), a plain host, and public machines only.

A server that fetches what a stranger names can be made to ask machines that the stranger cannot reach: itself, its
neighbours, the cloud's metadata service (server-side request forgery). So an address is taken apart by narrow rules,
and every machine that its host stands for must be one of the public internet. Whatever is in doubt is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import quote, urlsplit

from sensorium.errors import SensoriumError

PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 4096  # characters of an address; longer ones are cut by many servers as well
# Python's `is_global` counts these as public, by its version or by design.
_NOT_PUBLIC_4 = tuple(map(IPv4Network, (
    "192.0.0.0/24",  # protocol assignments (RFC 6890)
    "192.88.99.0/24",  # relays of 6to4, withdrawn (RFC 7526)
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved
)))  # fmt: skip
_UNICAST = IPv6Network("2000::/3")  # all that is given out for public use (RFC 4291, section 2.4)
_NOT_PUBLIC_6 = tuple(map(IPv6Network, (
    "2001::/23",  # protocol assignments, Teredo among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: leads to the IPv4 address within
    "3fff::/20",  # documentation (RFC 9637)
)))  # fmt: skip
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: how a machine without IPv4 sees IPv4 (RFC 6052)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True)
class WebAddress:
    """host: in lower case, without a final dot, IPv6 without brackets; target: path and query, percent-encoded."""

    scheme: str
    host: str
    target: str

    @property
    def port(self) -> int:
        return PORTS[self.scheme]

    @property
    def host_header(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.target}"


def parse_web_address(text: str) -> WebAddress:
    """Take an address apart.

    Only http and https at their own ports, no user or password, no characters that programs read in different ways.
    Raises SensoriumError for everything else.
    """
    where = shown(text)
    if len(text) > MAX_LENGTH:
        raise SensoriumError(where, f"is longer than {MAX_LENGTH:,} characters.")
    if re.search(r"[\x00-\x20\x7f\\\ud800-\udfff]", text):
        raise SensoriumError(where, "holds blanks, control characters or backslashes.", "Write them percent-encoded.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SensoriumError(where, f"is no web address ({error}).") from error
    if parts.scheme not in PORTS:
        raise SensoriumError(where, "is no http or https address.")
    if "@" in parts.netloc:
        raise SensoriumError(where, "names a user.", "Give an address that needs none.")
    if port not in (None, PORTS[parts.scheme]):
        raise SensoriumError(where, f"names port {port}; only {PORTS[parts.scheme]} is asked for {parts.scheme}.")
    host = _checked_host(where, (parts.hostname or "").removesuffix("."), "[" in parts.netloc)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{_quoted(parts.query)}" if parts.query else "")
    return WebAddress(parts.scheme, host, target)


def _checked_host(where: str, host: str, is_bracketed: bool) -> str:
    if is_bracketed:
        try:
            six = IPv6Address(host)
            if six.scope_id is None:
                return str(six)
            raise ValueError("its zone is of one network only")
        except ValueError as error:
            raise SensoriumError(where, f"names no machine ({error}).") from error
    if len(host) > 253 or not all(map(_LABEL.fullmatch, host.split("."))):
        raise SensoriumError(where, "names no machine.", "Write the host in ASCII: xn--… for other letters.")
    last = host.rpartition(".")[2]
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to the C library and names to others: one spelling only.
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise SensoriumError(where, "writes a number where a host is expected.", "Write 192.0.2.1.") from error
    return host


def _quoted(query: str) -> str:
    return quote(query, safe="/%:@!$&'()*+,;=~?[]{}|^`")


def shown(text: str) -> str:
    """The address in an error: short, and without what a terminal or a log would obey."""
    text = text.encode("ascii", "backslashreplace").decode() if len(text) <= 200 else f"{ascii(text[:120])[1:-1]}…"
    return re.sub(r"[\x00-\x20\x7f]", "\ufffd", text)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, the IPv4 address within it looked at as well.

    address: numeric, as `getaddrinfo` gives it.
    """
    try:
        return _is_public_4(IPv4Address(address))
    except ValueError:
        pass
    try:
        six = IPv6Address(address)
    except ValueError:  # a name, or an address with a zone
        return False
    if six.ipv4_mapped is not None:
        return _is_public_4(six.ipv4_mapped)
    if six in _TRANSLATED:
        return _is_public_4(IPv4Address(int(six) & 0xFFFFFFFF))
    return six in _UNICAST and six.is_global and not any(six in network for network in _NOT_PUBLIC_6)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _NOT_PUBLIC_4)
