"""What the page's part of the server lets through: what the page itself asks, and nothing that Gradio has besides."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page is part of the extra `serve`")
httpx = pytest.importorskip("httpx")

from sensorium.serving import ServerSettings, create_app  # noqa: E402
from sensorium.serving.page import gate  # noqa: E402
from sensorium.serving.page.quiet_gradio import FOLDER  # noqa: E402

PNG = (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0"
       b"\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82")  # fmt: skip


def asked(name: str) -> dict[str, Any]:
    """A picture in an event, as Gradio's own page sends one."""
    return {"path": name, "orig_name": "a.png", "mime_type": "image/png", "meta": {"_type": "gradio.FileData"}}


def submit(client: Any, *pictures: dict[str, Any], tab: str = "tab1") -> Any:
    """The event of a question, handmade from what the page tells every browser about itself."""
    config = json.loads(client.get("/").text.split("window.gradio_config = ", 1)[1].split(";</script>", 1)[0])
    submits = [one for one in config["dependencies"] if [target[1] for target in one["targets"]] == ["submit"]]
    data = [{"text": "What is it?", "files": list(pictures)}, "told", "free", 0, 1, 16, 0, False, 8,
            "uniform"]
    return client.post("/gradio_api/queue/join", json={"data": data, "fn_index": submits[0]["id"], "session_hash": tab})


def result(client: Any, tab: str = "tab1") -> list[dict[str, Any]]:
    """What came of the tab's event: the messages up to its completion."""
    found = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if found[-1]["msg"] == "process_completed":
                    break
    return found


@pytest.fixture(scope="module")
def engine(tell):
    return tell()


@pytest.fixture(scope="module")
def client(serve, engine):
    with serve(engine, page=True) as address, httpx.Client(base_url=address, timeout=20) as client:
        yield client


def test_an_uploaded_picture_is_asked_about(client, engine):
    path, = client.post("/gradio_api/upload", files={"files": ("a.png", PNG)}).json()
    assert Path(path).is_relative_to(FOLDER)
    assert client.get(f"/gradio_api/file={path}").content == PNG
    assert submit(client, asked(path)).status_code == 200
    assert result(client)[-1]["success"]
    conversation, _ = engine.asked[-1]
    assert Path(conversation.images[0].source).read_bytes() == PNG


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "/etc/../etc/passwd", "etc/passwd", "~/.bashrc", "/proc/self/environ", "/dev/zero", "",
        "http://127.0.0.1:1/a.png", "https://example.org/a.png", "HTTP://127.0.0.1/a.png", "ftp://127.0.0.1/a.png",
        "file:///etc/passwd", "//127.0.0.1/a.png", "data:image/png;base64,AAAA", "{folder}/../../etc/passwd",
        "{folder}", "{folder}/link.png", "{folder}/none.png", "a\0b", "x" * 10_000,
    ],
)  # fmt: skip
def test_paths_and_addresses_in_an_event_are_refused(client, engine, name):
    n_asked = len(engine.asked)
    link = FOLDER / "link.png"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    answer = submit(client, asked(name.replace("{folder}", str(FOLDER))))
    assert answer.status_code == 400
    said = "Pictures and videos must be uploaded; paths and addresses are not opened."
    assert answer.json()["error"]["message"] == said
    assert len(engine.asked) == n_asked


def test_a_path_is_found_wherever_it_hides(client):
    hidden: Any = asked("/etc/passwd")
    for _ in range(300):
        hidden = [hidden] if isinstance(hidden, dict) and len(hidden) == 1 else {"deep": hidden}
    event = {"data": [hidden], "fn_index": 0, "session_hash": "tab1", "event_data": {"value": asked("/etc/passwd")}}
    assert client.post("/gradio_api/queue/join", json=event).status_code == 400
    assert client.post("/gradio_api/queue/join", content="[" * 100_000).status_code == 400
    assert client.post("/gradio_api/queue/join", content='{"path": 7}').status_code == 400


def test_behind_the_gate_gradio_checks_once_more(told):
    from starlette.testclient import TestClient

    app = create_app(told, ServerSettings(page=True))
    behind = next(middleware.kwargs["page"] for middleware in app.user_middleware if middleware.cls is gate.Gate)
    picture = Path(__file__).parents[3] / "docs" / "pictures" / "scene.jpg"  # one that could be shown
    with TestClient(behind) as client:
        assert submit(client, asked(str(picture))).status_code == 200
        assert not result(client)[-1]["success"]
        assert client.get("/gradio_api/file=/etc/passwd").status_code == 403
    assert not told.asked


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../etc/passwd", "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file=%2Fetc%2Fpasswd", "/gradio_api/file=", "/gradio_api/file={folder}/../../etc/passwd",
        "/gradio_api/file={folder}/link.png", "/gradio_api/file={folder}",
    ],
)  # fmt: skip
def test_no_file_but_the_pages_is_shown(client, path):
    answer = client.get(path.replace("{folder}", str(FOLDER)))
    assert answer.json()["error"]["code"] in ("forbidden", "not_found")  # said by us: Gradio was not asked


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"), ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/monitoring"), ("GET", "/monitoring/summary"), ("GET", "/config"), ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"), ("POST", "/gradio_api/run/ask"), ("POST", "/gradio_api/api/ask"),
        ("POST", "/gradio_api/call/ask"), ("POST", "/gradio_api/component_server"), ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/process_recording"), ("POST", "/gradio_api/vibe-edit"), ("GET", "/gradio_api/vibe-code"),
        ("GET", "/gradio_api/heartbeat/tab1"), ("GET", "/gradio_api/token"), ("POST", "/login"), ("GET", "/logout"),
        ("GET", "/gradio_api/dev/reload"), ("POST", "/gradio_api/run-history/connect"), ("PUT", "/gradio_api/upload"),
        ("GET", "/gradio_api/deep_link"), ("GET", "/nothing"), ("GET", "/v1/nothing"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_the_api_is_as_it_was(client):
    assert client.get("/v1/models").json()["data"][0]["id"] == "told"
    assert client.get("/v1/chat/completions").status_code == 405
    assert client.get("/health").json()["status"] == "ok"
    assert "/gradio_api/upload" not in client.get("/openapi.json").text


def test_the_page_tells_browsers_to_load_nothing_from_elsewhere(client):
    headers = client.get("/").headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";") if part}
    sources = {source for name in ("default-src", "img-src", "connect-src", "script-src") for source in policy[name]}
    assert sources <= {"'self'", "data:", "blob:", "'unsafe-inline'", "'unsafe-eval'"}
    assert policy["frame-ancestors"] == ["'none'"] and headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in client.get("/v1/models").headers


def test_a_page_as_text_names_nothing_that_is_loaded_from_elsewhere(client):
    text = client.get("/").text
    assert "fonts.googleapis" not in text + client.get("/theme.css").text and "cdnjs" not in text


def test_uploads_are_limited(serve, told, monkeypatch):
    with serve(told, page=True, max_body_mb=0.01) as address, httpx.Client(base_url=address, timeout=20) as client:
        assert client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 20_000)}).status_code == 413
        monkeypatch.setattr(gate, "_tidied", lambda folder: 2 * 10**9 + 1)
        full = client.post("/gradio_api/upload", files={"files": ("a.png", PNG)})
        assert full.status_code == 507 and full.json()["error"]["code"] == "no_room"


def test_files_past_their_time_are_removed_but_the_examples_stay(tmp_path):
    (tmp_path / "examples").mkdir()
    for name, age_s in (("old.png", gate.KEPT_S + 60), ("new.png", 60), ("examples/old.png", gate.KEPT_S + 60)):
        (tmp_path / name).write_bytes(b"12345")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert gate._tidied(tmp_path) == 10
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert left == ["examples/old.png", "new.png"]


def test_a_page_with_keys_answers_nobody_without_one(serve, told):
    with serve(told, page=True, keys=("secret",)) as address, httpx.Client(base_url=address, timeout=20) as client:
        form = client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
        assert form.status_code == 401 and "此服务器需要密钥" in form.text and "gradio" not in form.text.lower()
        for method, path in (("GET", "/theme.css"), ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/queue/join")):
            assert client.request(method, path).status_code == 401
        assert client.post("/sign-in").status_code == 401
        assert client.post("/sign-in", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.post("/sign-in", headers={"Authorization": "Bearer secret"}).status_code == 204
        assert client.get("/").status_code == 200  # by the cookie
        code = client.cookies["sensorium-page"]
        assert client.get("/v1/models").status_code == 401
    for wrong in (code[:-1] + ("0" if code[-1] != "0" else "1"), "", "secret", "\u00e9"):
        with serve(told, page=True, keys=("secret",)) as address:
            cookie = f"sensorium-page={wrong}".encode()
            assert httpx.get(address, headers={b"Cookie": cookie}).status_code == 401
