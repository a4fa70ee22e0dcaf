"""Pictures by address: only public machines are asked, whatever names, redirects and answers try."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import threading

import pytest
from handmade import corner_marked, encoded, png_header

from sensorium.errors import SensoriumError
from sensorium.media import ImageLimits
from sensorium.media.remote import RemoteLimits, fetch_image

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"
PICTURE = encoded(corner_marked(), "PNG")


def _said(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _moved(location: str, status: str = "302 Found") -> bytes:
    return _said(b"", status, Location=location, Content_Length="0")


def _fetch(url: str, **limits: object) -> bytes:
    return asyncio.run(fetch_image(url, RemoteLimits(**limits)))


def _refused(url: str, **limits: object) -> str:
    with pytest.raises(SensoriumError) as refused:
        _fetch(url, **limits)
    return str(refused.value)


def test_a_picture_is_fetched_from_the_address_that_was_checked(internet):
    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, _said(PICTURE, Content_Type="text/html"))
    assert _fetch("http://Pictures.example/a%20b.png?size=1#top") == PICTURE
    assert internet.connections == [(PUBLIC, 80, None)]
    head = internet.heads[0].decode()
    assert head.startswith("GET /a%20b.png?size=1 HTTP/1.1\r\nHost: pictures.example\r\n")
    assert "Accept-Encoding: identity" in head and "Cookie" not in head and "Authorization" not in head


def test_chunks_and_other_addresses_of_a_host_are_as_good(internet):
    internet.names["pictures.example"] = [[OTHER, PUBLIC]]
    pieces = [PICTURE[i : i + 50] for i in range(0, len(PICTURE), 50)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    internet.answer(PUBLIC, _said(chunks + b"0\r\n\r\n", Transfer_Encoding="chunked"))
    assert _fetch("http://pictures.example/a.png") == PICTURE
    assert [address for address, *_ in internet.connections] == [OTHER, PUBLIC]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["10.1.2.3"], ["::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["0.0.0.0"],
     ["100.64.0.1"], ["224.0.0.1"], ["fd00:ec2::254"], [PUBLIC, "127.0.0.1"], ["192.168.0.1", PUBLIC], []],
)  # fmt: skip
def test_a_name_that_stands_for_a_machine_inside_is_refused(internet, addresses):
    internet.names["pictures.example"] = [addresses]
    for address in (*addresses, PUBLIC):
        internet.answer(address, _said(PICTURE))
    assert "is not on a machine of the public internet" in _refused("http://pictures.example/a.png")
    assert internet.connections == []


@pytest.mark.parametrize("host", ["localhost", "localhost.", "127.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]",
                                  "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "169.254.169.254", "[fd00:ec2::254]",
                                  "0.0.0.0", "2130706433", "0x7f.1", "0177.0.0.1", "017700000001", "127.1",
                                  "[64:ff9b::7f00:1]"])  # fmt: skip
def test_no_spelling_of_this_machine_is_asked(internet, host):
    internet.names |= {"localhost": [["127.0.0.1", "::1"]]}
    for address in ("127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"):
        internet.answer(address, _said(PICTURE))
    assert _refused(f"http://{host}/a.png")
    assert internet.connections == []


def test_a_name_that_changes_after_it_was_checked_changes_nothing(internet):
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    internet.answer(PUBLIC, _said(PICTURE))
    internet.answer("127.0.0.1", _said(PICTURE))
    assert _fetch("http://rebinding.example/a.png") == PICTURE
    assert [address for address, *_ in internet.connections] == [PUBLIC]
    assert "public internet" in _refused("http://rebinding.example/a.png")
    assert [address for address, *_ in internet.connections] == [PUBLIC]


def test_a_name_that_changes_between_redirects_is_checked_anew(internet):
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    internet.answer(PUBLIC, _moved("/again"))
    internet.answer("127.0.0.1", _said(PICTURE))
    assert "public internet" in _refused("http://rebinding.example/a.png")
    assert [address for address, *_ in internet.connections] == [PUBLIC]


@pytest.mark.parametrize("location", ["http://127.0.0.1/a.png", "http://inside.example/a.png", "//inside.example/a.png",
                                      "file:///etc/passwd", "http://pictures.example:8000/", "http://x@pictures.example/",
                                      "gopher://pictures.example/", "http://[::1", "data:image/png;base64,AAAA"])
@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_leads_nowhere_that_may_not_be_asked(internet, location, status):
    internet.names |= {"pictures.example": [[PUBLIC]], "inside.example": [["10.0.0.7"]]}
    internet.answer(PUBLIC, _moved(location, status))
    for inside in ("127.0.0.1", "10.0.0.7"):
        internet.answer(inside, _said(PICTURE))
    assert _refused("http://pictures.example/a.png")
    assert internet.connections == [(PUBLIC, 80, None)]


def test_redirects_are_followed_and_counted(internet):
    internet.names |= {"first.example": [[PUBLIC]], "second.example": [[OTHER]]}
    internet.answer(PUBLIC, _moved("http://second.example/b.png"))
    internet.answer(OTHER, _said(PICTURE))
    assert _fetch("http://first.example/a.png") == PICTURE
    assert [address for address, *_ in internet.connections] == [PUBLIC, OTHER]
    internet.names["ring.example"] = [["93.184.216.36"]]
    internet.answer("93.184.216.36", _moved("/round"))
    assert "more than 2 redirects" in _refused("http://ring.example/", max_redirects=2)
    assert len(internet.connections) == 2 + 3


def test_only_named_hosts_are_asked_where_some_are_named(internet):
    for name in ("our.example", "www.our.example", "notour.example", "other.example"):
        internet.names[name] = [[PUBLIC]]
    internet.answer(PUBLIC, _said(PICTURE))
    for host in ("our.example", "www.our.example"):
        assert _fetch(f"http://{host}/a.png", hosts=("Our.example",)) == PICTURE
    for host in ("notour.example", "other.example", "our.example.other.example", PUBLIC):
        assert "our.example, where pictures may come from" in _refused(f"http://{host}/a.png", hosts=("our.example",))
    assert len(internet.connections) == 2


LARGE = ImageLimits(max_bytes=20_000)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_said(b"", Content_Length="100000000"), "more than 20,000 bytes"),
        (_said(b"", Content_Length="99999999999999999999"), "more than 20,000 bytes"),
        (_said(b"\x89PNG\r\n\x1a\n" + bytes(30_000)), "more than 20,000 bytes"),
        (_said(b"ffffffff\r\n" + bytes(30_000), Transfer_Encoding="chunked"), "more than 20,000 bytes"),
        (_said(gzip.compress(bytes(10**6)), Content_Encoding="gzip"), "packed"),
        (_said(png_header(30_000, 30_000)), "pixels"),
        (_said(b"<!DOCTYPE html><title>Sign in</title>", Content_Type="image/png"), "a web page"),
        (_said(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/png"), "an SVG drawing"),
        (_said(b"root:x:0:0:", Content_Type="image/png"), "plain text"),
        (_said(b""), "is empty"),
        (_said(PICTURE, "404 Not Found"), "status 404"),
        (_said(PICTURE, "206 Partial Content"), "status 206"),
        (_said(b"", "302 Found"), "status 302"),
        (_said(PICTURE[:50], Content_Length="5000"), "cannot be fetched"),
        (_said(PICTURE, Content_Length="-1"), "cannot be fetched"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "cannot be fetched"),
        (b"", "broke off"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_of_a_fair_size_is_refused(internet, answer, said):
    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, answer)
    told = _refused("http://pictures.example/a.png", image=LARGE)
    assert told.startswith("http://pictures.example/a.png: ") and said in told and "root:x" not in told


def test_an_endless_answer_is_not_read_to_its_end(internet):
    sent = []

    def more() -> None:
        sent.append(1)

    internet.names["pictures.example"] = [[PUBLIC]]
    pieces = [part for _ in range(2000) for part in (bytes(65536), more)]  # 131 MB
    internet.answer(PUBLIC, _said(b"\x89PNG\r\n\x1a\n"), *pieces)
    assert "more than 20,000 bytes" in _refused("http://pictures.example/a.png", image=LARGE)
    assert len(sent) < 200  # what the kernel's buffers hold


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", _said(b"\x89PNG")])
def test_a_drip_ends_when_the_time_is_over(internet, begin):
    over = threading.Event()

    def wait() -> None:
        over.wait(0.02)

    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, begin, *[part for _ in range(500) for part in (wait, b"X")])
    assert "did not come within 0.2 s" in _refused("http://pictures.example/a.png", timeout_s=0.2)
    over.set()


def test_a_name_server_that_does_not_answer_is_not_waited_for(internet, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(10) and [])

    async def play() -> None:
        with pytest.raises(SensoriumError, match=r"did not come within 0\.1 s"):
            await fetch_image("http://pictures.example/", RemoteLimits(timeout_s=0.1))
        over.set()

    asyncio.run(play())


def test_whoever_stops_waiting_closes_the_connection(internet):
    begun, over = threading.Event(), threading.Event()
    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, begun.set, _said(b"\x89PNG"), *[b"X", lambda: over.wait(0.01)] * 1000)

    async def play() -> None:
        fetching = asyncio.create_task(fetch_image("http://pictures.example/", RemoteLimits()))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        for _ in range(500):
            if internet.broken_off:
                return
            await asyncio.sleep(0.01)

    asyncio.run(play())
    over.set()
    assert internet.broken_off == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate authority's file, a server's context whose certificate is for pictures.example)"""
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example",
         "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", context


def test_certificates_are_verified_by_name_though_the_address_is_pinned(internet, certificate, monkeypatch):
    authority, context = certificate
    internet.names = {"pictures.example": [[PUBLIC]], "other.example": [[PUBLIC]]}
    internet.answer(PUBLIC, _said(PICTURE), port=443, tls=context)
    monkeypatch.setattr("sensorium.media.remote._tls", lambda: ssl.create_default_context(cafile=str(authority)))
    assert _fetch("https://pictures.example/a.png") == PICTURE
    assert internet.connections == [(PUBLIC, 443, "pictures.example")]
    assert "certificate is not to be trusted" in _refused("https://other.example/a.png")


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(internet, certificate):
    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, _said(PICTURE), port=443, tls=certificate[1])
    assert "certificate is not to be trusted" in _refused("https://pictures.example/a.png")


def test_what_is_encrypted_does_not_lead_to_what_is_not(internet, certificate, monkeypatch):
    authority, context = certificate
    internet.names["pictures.example"] = [[PUBLIC]]
    internet.answer(PUBLIC, _moved("http://pictures.example/a.png"), port=443, tls=context)
    internet.answer(PUBLIC, _said(PICTURE))
    monkeypatch.setattr("sensorium.media.remote._tls", lambda: ssl.create_default_context(cafile=str(authority)))
    assert "is not encrypted" in _refused("https://pictures.example/a.png")
    assert internet.connections == [(PUBLIC, 443, "pictures.example")]
