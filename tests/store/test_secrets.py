"""What a server hears of the address, and what nobody else hears: by a server that quotes the password it was given."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from autocron.errors import StoreError
from autocron.store.move_postgres import PostgresEnd
from autocron.store.postgres import open_store
from autocron.store.postgres_nodes import Membership
from autocron.store.postgres_url import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "s3cret-word"
SSL_REQUEST = 80877103


class Server:
    """Asks for the password, and refuses it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard: list[str] = []
        self.tls_answer = b"N"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        (size, code) = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
        if code == SSL_REQUEST:
            self.heard.append("TLS is wanted")
            connection.sendall(self.tls_answer)
            head = connection.recv(8, socket.MSG_WAITALL)
            if len(head) < 8:
                return
            (size, code) = struct.unpack("!II", head)
        connection.recv(size - 8, socket.MSG_WAITALL)
        connection.sendall(b"R" + struct.pack("!II", 8, 3))
        (_, size) = struct.unpack("!cI", connection.recv(5, socket.MSG_WAITALL))
        password = connection.recv(size - 4, socket.MSG_WAITALL).rstrip(b"\0")
        self.heard.append(password.decode())
        told = b"SFATAL\0C28P01\0Mpassword authentication failed: " + password + b"\0\0"
        connection.sendall(b"E" + struct.pack("!I", len(told) + 4) + told)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def url(server: Server, options: str = "") -> str:
    return f"postgresql://ann:{PASSWORD}@127.0.0.1:{server.port}/db?gssencmode=disable&{options}"


def test_a_wrong_password_is_in_no_error(server: Server) -> None:
    address = canonical(url(server, "sslmode=disable"))
    for use in (
        lambda: open_store(address).settings(),
        lambda: Membership(address, "place").join(),
        lambda: PostgresEnd(address),
    ):
        with pytest.raises(StoreError, match=r"password authentication failed: \*\*\*") as caught:
            use()
        assert PASSWORD not in str(caught.value)
    assert PASSWORD in server.heard


@pytest.mark.parametrize("words", [["--json"], ["top", "--once"], ["move"], ["move", "x.db"], ["work", "os"]])
def test_the_admin_tool_does_not_tell_it(server: Server, tmp_path: Path, words: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-c", "from autocron.store.sqlite import open_store; from pathlib import Path;"
         "open_store(Path('here.db')).settings()"], cwd=tmp_path, check=True,
    )  # fmt: skip
    command = [sys.executable, "-m", "autocron", *([str(tmp_path / "here.db")] if words == ["move"] else []), *words]
    environ = {**os.environ, "AUTOCRON_DATABASE": url(server), "AUTOCRON_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "password authentication failed: ***" in done.stderr
    assert PASSWORD in server.heard
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    said = done.stdout + done.stderr + "".join(map(str, files))
    assert PASSWORD.encode() not in said.encode() + b"".join(path.read_bytes() for path in files)


def test_tls_settings_reach_the_driver(server: Server) -> None:
    with pytest.raises(StoreError, match="SSL was required"):
        open_store(canonical(url(server, "sslmode=require"))).settings()
    assert {*server.heard} == {"TLS is wanted"}
    server.tls_answer = b"S"
    with pytest.raises(StoreError, match=r"/none/root\.crt"):
        open_store(canonical(url(server, "sslmode=verify-full&sslrootcert=/none/root.crt"))).settings()
    with pytest.raises(StoreError, match="sslmode"):
        open_store(canonical(url(server, "sslmode=sometimes"))).settings()
    assert PASSWORD not in server.heard
