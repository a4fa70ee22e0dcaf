"""Where `sensorium serve` listens, what it calls that, and when it opens the browser."""

from __future__ import annotations

import socket

import pytest

from sensorium.cli import place
from sensorium.errors import SensoriumError


@pytest.mark.parametrize(
    ("host", "address", "for_browser", "is_local"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", True), ("0.0.0.0", "0.0.0.0", "127.0.0.1", False),
        ("::1", "[::1]", "[::1]", True), ("::", "[::]", "[::1]", False),
    ],
)  # fmt: skip
def test_a_place_tells_its_address_and_one_that_a_browser_reaches(host, address, for_browser, is_local):
    try:
        found = place.listen(host, 0)
    except SensoriumError:
        if ":" in host and not _has_ipv6():
            pytest.skip("this machine has no IPv6")
        raise
    with found.sock:
        port = found.sock.getsockname()[1]
        assert (found.address, found.for_browser) == (f"http://{address}:{port}", f"http://{for_browser}:{port}")
        assert found.is_local is is_local
        for_caller = for_browser.strip("[]")
        with socket.create_connection((for_caller, port), timeout=5):  # it listens already
            pass


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "said"),
    [("no.such.host", "is no address"), ("a" * 70, "is no address"), ("", "is no address"),
     ("203.0.113.9", "Choose an address of this machine")],
)  # fmt: skip
def test_a_host_that_is_not_here_is_named(host, said, internet):
    with pytest.raises(SensoriumError, match=said):
        place.listen(host, 0)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SensoriumError, match="another --port"):
        place.listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("terminal", "environment", "platform", "opened"),
    [
        (True, {"DISPLAY": ":0"}, "linux", True), (True, {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (True, {}, "linux", False), (False, {"DISPLAY": ":0"}, "linux", False),
        (True, {"DISPLAY": ":10", "SSH_CONNECTION": "a 1 b 2"}, "linux", False), (True, {}, "darwin", True),
    ],
)  # fmt: skip
def test_the_browser_is_opened_where_a_person_sits_before_a_screen(
    monkeypatch, terminal, environment, platform, opened
):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(place.sys, "platform", platform)
    monkeypatch.setattr(place.sys.stderr, "isatty", lambda: terminal, raising=False)
    assert place.is_on_a_desktop() is opened
