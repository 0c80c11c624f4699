"""The link to a node: found, lost and found again; a node of the test's own stands at the other end."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from autocron import launch, wire
from autocron.bell import Bell, ring
from autocron.link import CALL_CONNECT_LIMIT, Link
from autocron.store.paths import log_path, socket_path
from autocron.store.place import Place
from autocron.terminal import MAX_PENDING, Terminal

PROGRAM = wire.Program("python", "/", [], ["shop"])
LIMIT = 5.0


class Node:
    """Listens where a node would; the test says what it answers."""

    def __init__(self, database: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(socket_path(database)))
        self.listener.listen()
        self.listener.settimeout(LIMIT)
        self.peers: list[Peer] = []

    def accept(self, *answers: Any) -> "Peer":
        peer = Peer(self.listener.accept()[0])
        self.peers.append(peer)
        if answers:
            assert isinstance(peer.next(), wire.Hello)
        peer.say(*answers)
        return peer

    def close(self) -> None:
        for one in (self.listener, *self.peers):
            one.close()


class Peer:
    """The node's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        self.socket = sock
        self._reader = wire.FrameReader(wire.FromApp)
        self._messages: list[Any] = []

    def next(self) -> Any:
        while not self._messages:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._messages += self._reader.feed(data)
        return self._messages.pop(0)

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.socket.sendall(wire.frame(message))

    def close(self) -> None:
        self.socket.close()


WELCOME = wire.Welcome(1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def node(database: Path) -> Iterator[Node]:
    one = Node(database)
    yield one
    one.close()


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> "Queue[Path]":
    spawned: Queue[Path] = Queue()
    monkeypatch.setattr(launch, "_spawn", lambda place: spawned.put(place.files))
    return spawned


@pytest.fixture
def link(database: Path, spawned: "Queue[Path]") -> Iterator[Link]:
    one = Link(Place.of_file(database), lambda: PROGRAM, lambda: "")
    yield one
    one.leave(0)


def opened(link: Link) -> "Queue[bool]":
    """Open the link in a thread: the test has to answer meanwhile."""
    result: Queue[bool] = Queue()
    threading.Thread(target=lambda: result.put(link.open()), daemon=True).start()
    return result


def connected(link: Link, node: Node, *answers: Any) -> Peer:
    result = opened(link)
    peer = node.accept(*(answers or (WELCOME,)))
    assert result.get(timeout=LIMIT)
    return peer


def eventually(condition: Callable[[], object]) -> None:
    done = threading.Event()
    for _ in range(500):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it did not happen")


def test_a_node_that_is_there_is_used(link: Link, node: Node, database: Path, spawned: "Queue[Path]") -> None:
    peer = connected(link, node)
    link.wake()
    assert peer.next() == wire.Wake()
    assert link.is_up
    assert database not in spawned.queue


def test_where_there_is_no_node_one_is_started(link: Link, database: Path, spawned: "Queue[Path]") -> None:
    result = opened(link)
    assert spawned.get(timeout=LIMIT) == database
    node = Node(database)
    node.accept(WELCOME)
    assert result.get(timeout=LIMIT)
    node.close()


def test_a_node_that_ends_before_its_welcome_is_tried_again(link: Link, node: Node) -> None:
    result = opened(link)
    node.accept().close()
    node.accept(WELCOME)
    assert result.get(timeout=LIMIT)


def test_what_comes_with_the_welcome_is_not_lost(link: Link, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        connected(link, node, wire.Log(logging.INFO, "before"), WELCOME, wire.Log(logging.INFO, "after"))
        eventually(lambda: caplog.messages == ["before", "after"])


def test_a_refusal_is_loud_and_may_end(link: Link, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    result = opened(link)
    peer = node.accept(wire.Welcome(1, "another program"))
    assert not result.get(timeout=LIMIT)
    assert "another program" in caplog.text
    assert caplog.records[0].levelname == "ERROR"
    peer.say(WELCOME)
    eventually(lambda: link.is_up)


def test_those_who_wait_are_woken_and_subscribe_again_after_a_loss(link: Link, node: Node) -> None:
    peer = connected(link, node)
    woken = threading.Event()
    with link.watch("job", woken.set):
        assert peer.next() == wire.Subscribe("job")
        peer.say(wire.Done("other"), wire.Done("job"))
        assert woken.wait(LIMIT)
        woken.clear()
        peer.close()
        assert woken.wait(LIMIT)
        peer = node.accept(WELCOME)
        assert peer.next() == wire.Subscribe("job")
    assert peer.next() == wire.Unsubscribe("job")


def test_only_the_last_of_several_who_wait_unsubscribes(link: Link, node: Node) -> None:
    peer = connected(link, node)
    with link.watch("job", lambda: None), link.watch("job", lambda: None):
        pass
    assert [peer.next() for _ in range(3)] == [wire.Subscribe("job"), wire.Subscribe("job"), wire.Unsubscribe("job")]


def test_a_call_never_waits_for_a_node_that_does_not_read(link: Link, node: Node) -> None:
    connected(link, node)
    for _ in range(100_000):
        link.wake()
    assert link.is_up


def test_the_program_is_told_again_only_when_it_has_changed(link: Link, node: Node) -> None:
    peer = connected(link, node)
    link.declare()
    link._program = lambda: wire.Program("python", "/", [], ["shop", "shop.views"])
    link.declare()
    link.declare()
    link.wake()
    assert peer.next() == wire.Declare(link._program())
    assert peer.next() == wire.Wake()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_starts_as_root_connects_when_it_has_become_the_owner(
    link: Link, node: Node, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database.touch()
    os.chown(database, 65534, 65534)
    assert not link.open()
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    node.accept(WELCOME)
    eventually(lambda: link.is_up)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.fixture(params=["uWSGI without --enable-threads", "no more threads"])
def threadless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give what lets no thread run from then on."""
    if request.param == "no more threads":
        return lambda: monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(has_threads=0))
    return lambda: monkeypatch.setattr(threading.Thread, "start", lambda _: None)


def refuse_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_where_no_thread_runs_the_next_call_connects(
    database: Path, node: Node, spawned: "Queue[Path]", threadless: Callable[[], None]
) -> None:
    peers: Queue[Peer] = Queue()
    threading.Thread(target=lambda: [peers.put(node.accept(WELCOME)) for _ in range(2)], daemon=True).start()
    link = Link(Place.of_file(database), lambda: PROGRAM, lambda: "")
    threadless()
    assert link.open()
    peers.get(timeout=LIMIT).close()
    link.wake()
    assert link.is_up
    link.wake()
    assert peers.get(timeout=LIMIT).next() == wire.Wake()
    link.leave(0)


def test_where_no_thread_runs_not_every_call_tries_to_connect(
    database: Path, threadless: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[float] = []

    def connect(_place: Place, _hello: bytes, limit: float) -> launch.Connection:
        attempts.append(limit)
        raise launch.NoNode("no node")

    monkeypatch.setattr("autocron.link.connect", connect)
    link = Link(Place.of_file(database), lambda: PROGRAM, lambda: "")
    threadless()
    for _ in range(3):
        link.wake()
    assert attempts == [CALL_CONNECT_LIMIT]
    assert "no node. Calls are stored" in caplog.text
    link.leave(0)


def test_while_the_lock_is_on_no_node_is_wanted(
    database: Path, node: Node, spawned: "Queue[Path]", caplog: pytest.LogCaptureFixture
) -> None:
    reasons = ["the lock is on"]
    link = Link(Place.of_file(database), lambda: PROGRAM, lambda: "".join(reasons))
    assert not link.open()
    assert caplog.messages == ["the lock is on"]
    reasons.clear()
    link.wake()  # the next call brings it back
    node.accept(WELCOME)
    eventually(lambda: link.is_up)
    assert database not in spawned.queue  # keepers of other tests may be at their end still
    link.leave(0)


@pytest.mark.parametrize("last_word", [wire.Farewell(), None])
def test_leaving_says_goodbye_and_waits_for_the_answer(link: Link, node: Node, last_word: Any) -> None:
    peer = connected(link, node)
    left = threading.Thread(target=link.leave, args=(LIMIT,))
    left.start()
    assert peer.next() == wire.Bye()
    assert left.is_alive()
    peer.say(last_word) if last_word else peer.close()
    left.join(LIMIT)
    assert not left.is_alive()
    assert not link.is_up


def test_after_leaving_nothing_connects_again(link: Link, node: Node) -> None:
    connected(link, node)
    link.leave(0)
    link.wake()
    node.listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        node.accept()


def test_a_forked_child_leaves_the_parents_link_alone(link: Link, node: Node) -> None:
    peer = connected(link, node)
    child = os.fork()
    if child == 0:
        link.forget()
        link.wake()
        os._exit(0)
    os.waitpid(child, 0)
    link.wake()
    assert peer.next() == wire.Wake()


def test_a_node_that_holds_its_lock_without_a_socket_is_told_of(
    link: Link, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "NO_SOCKET_LIMIT", 0.05)
    monkeypatch.setattr(launch.paths, "lock_holder", lambda *_: 4711)
    assert not link.open()
    assert "x.db.sock" in caplog.text


def test_why_nodes_die_at_their_start_is_told(database: Path) -> None:
    log_path(database).write_text("an old story\n")
    socket_path(database).mkdir()  # no node can listen there

    def complaint() -> str:
        with pytest.raises(launch.NoNode) as raised:
            launch.connect(Place.of_file(database), b"", 0.5)
        return str(raised.value)

    assert "x.db.log tells more" in complaint()
    eventually(lambda: "x.db.log tells more, at its end: IsADirectoryError: " in complaint())


def test_an_interpreter_that_fails_is_told_of(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(Place.of_file(database), lambda: PROGRAM, lambda: "")
    for python, said in (("/bin/false", "exit status 1"), ("/nowhere/python", "No such file")):
        monkeypatch.setenv("AUTOCRON_PYTHON", python)
        assert not link._connect()
        assert said in caplog.text


def test_nothing_is_started_while_another_process_starts_it(
    database: Path, spawned: "Queue[Path]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.paths, "try_lock", lambda *_: False)
    with pytest.raises(launch.NoNode, match="did not answer"):
        launch.connect(Place.of_file(database), b"", 0.05)
    assert database not in spawned.queue  # keepers of other tests may be at their end still


def test_ringing_wakes_a_node_that_is_there(database: Path, node: Node) -> None:
    ring(database)
    peer = node.accept()
    assert [peer.next(), peer.next()] == [wire.Wake(), None]
    node.close()
    ring(database)
    ring(database.with_name("nowhere.db"))


def test_a_bell_keeps_its_line_and_finds_the_next_node(database: Path, node: Node) -> None:
    bell = Bell(database)
    bell.ring()
    bell.ring()
    peer = node.accept()
    assert [peer.next(), peer.next()] == [wire.Wake(), wire.Wake()]
    peer.close()
    bell.ring()
    again = node.accept()
    assert again.next() == wire.Wake()
    bell.close()
    assert again.next() is None


# The terminal


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    monkeypatch.setattr("autocron.terminal._descriptor", lambda _: writing)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_what_tasks_print_is_written_in_order(pipe: tuple[int, int]) -> None:
    terminal = Terminal()
    for text in (b"one\n", b"two\n"):
        terminal.write(1, text)
    terminal.close(LIMIT)
    assert os.read(pipe[0], 100) == b"one\ntwo\n"


def test_a_terminal_that_does_not_read_costs_output_not_time(pipe: tuple[int, int]) -> None:
    terminal = Terminal()
    for _ in range(40):
        terminal.write(1, bytes(MAX_PENDING // 16))
    received = b""
    os.set_blocking(pipe[0], False)

    def read() -> bool:
        nonlocal received
        terminal.write(1, b"end\n")
        try:
            received += os.read(pipe[0], 1 << 20)
        except BlockingIOError:
            return False
        return received.endswith(b"end\n") and b"bytes of output dropped" in received

    eventually(read)
    terminal.close(LIMIT)
    assert len(received) < 2 * MAX_PENDING


def test_a_terminal_that_is_gone_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("autocron.terminal._descriptor", lambda _: writing)
    terminal = Terminal()
    for _ in range(3):
        terminal.write(1, b"lost\n")
    terminal.close(LIMIT)
    os.close(writing)
    assert len(caplog.records) == 1


PRINTS_AND_ENDS = """
from autocron.terminal import Terminal
terminal = Terminal()
for number in range(5000):
    terminal.write(1, b"%d\\n" % number)
"""


def test_what_tasks_printed_last_is_written_although_the_process_ends() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", PRINTS_AND_ENDS], capture_output=True, check=True, timeout=LIMIT * 4
    )
    assert printed.stdout.split() == [b"%d" % number for number in range(5000)]
