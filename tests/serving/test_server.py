"""Connections: those that say nothing end in time and make room, and Ctrl-C lets running replies finish."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sensorium.model.checkpoint import save_model

from .conftest import read_reply

BODY = json.dumps({"model": "told", "messages": [{"role": "user", "content": "Hi"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ASK = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def _connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    read = b""
    try:
        while piece := connection.recv(65536):
            read += piece
    except ConnectionResetError:
        pass
    return read


@pytest.mark.parametrize("begin", [b"", b"POST", HEAD, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea"])
def test_a_request_that_does_not_come_is_not_waited_for(told, serve, begin):
    with serve(told, header_timeout_s=0.2) as address, _connected(address) as connection:
        connection.sendall(begin)
        answer = _rest(connection)
    head, _, body = answer[answer.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
    if not begin.startswith(b"GET"):
        assert head.startswith(b"HTTP/1.1 408") and "header_timeout_s" in json.loads(body)["error"]["message"]


def test_a_request_that_drips_has_no_more_time_than_others(told, serve):
    with serve(told, header_timeout_s=0.3) as address, _connected(address) as connection:
        connection.settimeout(0.02)
        answer = b""
        for _ in range(500):  # ten seconds, if it were never over
            try:
                connection.sendall(b"X")
                answer = connection.recv(1000)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408") and told.asked == []


def test_the_time_for_a_request_is_not_the_time_for_its_answer(told, serve):
    told.go = threading.Semaphore(0)
    with serve(told, header_timeout_s=0.2) as address, _connected(address) as connection:
        connection.sendall(ASK)
        time.sleep(0.5)
        told.go.release(100)
        assert b"one two three" in read_reply(connection)


def test_a_thousand_who_say_nothing_keep_nobody_out(told, serve):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, hard), hard))
    silent: list[socket.socket] = []
    with serve(told, max_connections=50) as address:
        try:
            for number in range(1000):
                silent.append(_connected(address))
                silent[-1].sendall((b"", b"POST /v1/ch", HEAD)[number % 3])
                if number % 100 == 99:
                    with _connected(address) as connection:
                        connection.sendall(ASK)
                        assert b"one two three" in read_reply(connection)
            ended = 0
            for connection in silent:
                connection.settimeout(0)
                try:
                    ended += connection.recv(1) == b""
                except BlockingIOError:
                    pass
                except ConnectionResetError:
                    ended += 1
            assert ended >= 950
        finally:
            for connection in silent:
                connection.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_those_who_are_answered_are_not_sent_away_for_others(told, serve):
    told.go = threading.Semaphore(0)
    with serve(told, max_connections=2) as address:
        asking = [_connected(address) for _ in range(2)]
        for number, connection in enumerate(asking, start=1):
            connection.sendall(ASK)
            while len(told.asked) < number:
                time.sleep(0.01)
        with _connected(address) as third:
            answer = _rest(third)
        assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After: 1" in answer
        assert "max_connections" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        told.go.release(100)
        for connection in asking:
            assert b"one two three" in read_reply(connection)
            connection.close()


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\0\x01\0", b"GET\r\n\r\n", b"GET / HTTP/x\r\n\r\n", bytes(100),
                                  b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
                                  b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\n"])  # fmt: skip
def test_what_is_no_http_is_told_so_as_all_errors_are(told, serve, data):
    with serve(told) as address, _connected(address) as connection:
        connection.sendall(data)
        head, _, body = _rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["error"]["code"] == "invalid_http"


def test_a_server_on_this_machine_ends_a_stream_after_ctrl_c_and_then_itself(tiny_model, tmp_path):
    folder = save_model(tiny_model, tmp_path / "tiny", ["connector"], {})
    command = [sys.executable, "-m", "sensorium", "serve", str(folder), "--engine", "torch", "--port", "0", "--no-page"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = next(line for line in server.stderr if line.startswith("Serving"))
            address = re.search(r"http://[\d.]+:\d+", line)[0]
            name = json.loads(urlopen(f"{address}/v1/models", timeout=20).read())["data"][0]["id"]
            with pytest.raises(HTTPError, match="403"):  # another site's name, led to this machine
                urlopen(Request(f"{address}/v1/models", headers={"Host": "page.example"}), timeout=20)
            asked = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 400, "stream": True,
                     "temperature": 1}  # fmt: skip
            body = json.dumps(asked).encode()
            with _connected(address) as connection:
                head = HEAD.replace(b"Host: x", b"Host: localhost")
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                read = connection.recv(65536)
                server.send_signal(signal.SIGINT)
                read += _rest(connection)
            assert b'"finish_reason": "' in read and read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert server.wait(60) == 0
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()
