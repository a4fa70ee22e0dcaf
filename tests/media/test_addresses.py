"""Which addresses may be asked: one spelling of http(s) to a host, and only public machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.media.addresses import is_public, parse_web_address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("http://pictures.example/a.png", ("http", "pictures.example", "/a.png")),
        ("HTTPS://Pictures.Example:443", ("https", "pictures.example", "/")),
        ("http://pictures.example./a?b=1&c=%20#part", ("http", "pictures.example", "/a?b=1&c=%20")),
        ("http://pictures.example/Grün.png?q=ü", ("http", "pictures.example", "/Gr%C3%BCn.png?q=%C3%BC")),
        ("http://good.example#@127.0.0.1:81/", ("http", "good.example", "/")),
        ("http://93.184.216.34:80/", ("http", "93.184.216.34", "/")),
        ("http://[2606:2800:220:1::1]/a", ("http", "2606:2800:220:1::1", "/a")),
    ],
)
def test_an_address_is_taken_apart(text, parsed):
    address = parse_web_address(text)
    assert (address.scheme, address.host, address.target) == parsed
    assert parse_web_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "pictures.example", "//pictures.example/a", "file:///etc/passwd", "ftp://pictures.example/a",
        "gopher://pictures.example/a", "data:image/png;base64,AAAA", "http:/etc/passwd", "http:///etc/passwd",
        "javascript:alert(1)", "http://good@127.0.0.1/", "http://user:word@pictures.example/", "http://@a.example/",
        "http://127.0.0.1\\@good.example/", "http://good.example\t.evil.example/",
        "http://a.example/\r\nX: y", "http://a.example/ b", "http://a.example/\0", "http://a.example/\ud800",
        "http://a.example:22/", "http://a.example:443/", "https://a.example:80/", "http://a.example:99999/",
        "http://a.example:x/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://[v1.a]/", "http://-a.example/",
        "http://a..example/", "http://..", "http://" + "a" * 64 + ".example/", "http://" + "a." * 200 + "example/",
        "http://bücher.example/", "http://①②⑦.⓪.⓪.①/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "http://127.1/", "http://0/", "http://127.0.0.0x1/", "http://1.2.3.4.5/", "http://a.example/" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_programs_read_in_different_ways_is_refused(text):
    with pytest.raises(SensoriumError) as refused:
        parse_web_address(text)
    assert len(str(refused.value)) < 500 and str(refused.value).isprintable()


@given(st.text() | st.text().map("http://".__add__) | st.from_regex(r"https?://[!-~]{0,30}"))
def test_whatever_the_text_it_is_an_address_or_refused(text):
    try:
        address = parse_web_address(text)
    except SensoriumError:
        return
    assert parse_web_address(str(address)) == address
    assert str(address).isascii() and str(address).isprintable() and " " not in str(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::64",
                                     "::ffff:8.8.8.8", "64:ff9b::808:808"])  # fmt: skip
def test_machines_of_the_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        # RFC 6890's registry of special addresses, multicast (RFC 5771), and IPv4 inside of IPv6
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.9",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
        "::ffff:0:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1",
        "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2001:0:808:808::1", "3fff::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1", "localhost", "", "8.8.8.8.",
    ],
)  # fmt: skip
def test_all_others_are_not(address):
    assert not is_public(address)
