"""The way to PostgreSQL fails: what a call, a result and an exchange do then."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from network import Fault

from autocron.errors import StoreError
from autocron.model import Finished, NewJob, State
from autocron.store.postgres import open_node_store, open_store
from autocron.store.postgres_connection import Kind, connect
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Proxy

    from autocron.store.base import Store

GIVEN_UP = 30.0  # seconds; far beyond each limit
CALL = b"app.work"  # the statement is prepared before, so only its values are sent


@pytest.fixture
def store(proxy: Proxy) -> Iterator[Store]:
    """Give the store of an application that is connected."""
    one = open_store(canonical(proxy.url))
    one.settings()
    yield one
    one.close()


def job(uuid: str) -> NewJob:
    return NewJob(uuid, "app.work", "[]", 1.0, 1.0)


def queued(store: Store) -> int:
    return store.counts(1.0).by_state.get(State.QUEUED, 0)


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
def test_a_call_whose_connection_is_cut_is_stored_once(store: Store, proxy: Proxy, fault: Fault) -> None:
    sprung = proxy.trap(CALL, fault)
    assert store.insert(job("a"))
    assert sprung.is_set()
    assert queued(store) == 1


@pytest.mark.parametrize(("fault", "kept"), [(Fault.REQUEST_SILENT, 0), (Fault.ANSWER_SILENT, 1)])
def test_a_call_in_silence_raises_at_its_limit(store: Store, proxy: Proxy, fault: Fault, kept: int) -> None:
    sprung = proxy.trap(CALL, fault)
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        store.insert(job("a"), limit=0.3)
    assert sprung.is_set()
    assert caught.value.maybe_stored
    assert queued(store) == kept
    assert store.insert(job("b"))


def test_a_call_waits_for_a_server_that_comes_back(store: Store, proxy: Proxy) -> None:
    proxy.down()
    threading.Timer(0.4, proxy.up).start()
    assert store.insert(job("a"))
    assert queued(store) == 1


def test_a_call_while_the_server_is_away_was_not_stored(store: Store, proxy: Proxy) -> None:
    store.close()  # what is sent through a connection that ends at this very moment may have been stored
    proxy.down()
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        store.insert(job("a"), limit=0.3)
    assert not caught.value.maybe_stored
    proxy.up()
    assert queued(store) == 0


def test_a_call_that_was_sent_once_and_cannot_be_sent_again_may_have_been_stored(store: Store, proxy: Proxy) -> None:
    sprung = proxy.trap(CALL, Fault.ANSWER_LOST)
    proxy.trap(CALL, Fault.REQUEST_SILENT)  # of the second try
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        store.insert(job("a"), limit=0.5)
    assert sprung.is_set()
    assert caught.value.maybe_stored


def test_a_process_that_has_never_been_connected_hears_at_once(proxy: Proxy) -> None:
    proxy.down()
    started = time.monotonic()
    with pytest.raises(StoreError, match="cannot be reached"):
        open_store(canonical(proxy.url)).insert(job("a"), limit=GIVEN_UP)
    assert time.monotonic() < started + GIVEN_UP / 2


def test_reading_survives_a_cut(store: Store, proxy: Proxy) -> None:
    store.insert(job("a"))
    sprung = proxy.trap(b"past_attempts", Fault.ANSWER_LOST)
    found = store.get("a", 1.0)
    assert found is not None
    assert found.state is State.QUEUED
    assert sprung.is_set()


def test_a_silent_server_that_is_stalled_as_a_whole(store: Store, proxy: Proxy) -> None:
    proxy.stall()
    with pytest.raises(StoreError, match="cannot be reached"):
        store.insert(job("a"), limit=1.5)
    proxy.up()
    assert store.insert(job("b"))


def test_of_two_calls_that_lock_each_other_out_both_are_stored(store: Store, proxy: Proxy, postgres: str) -> None:
    schema = schema_of(canonical(postgres))
    with psycopg.connect(for_libpq(canonical(postgres)), autocommit=True) as stranger:
        stranger.execute(
            f"create sequence {schema}.times;"
            f"create function {schema}.clash() returns trigger language plpgsql as $$ begin"
            f"  if nextval('{schema}.times') <= 2 then raise exception using errcode = '40P01'; end if;"
            "  return new; end $$;"
            f"create trigger clash before insert on {schema}.jobs"
            f"  for each row execute function {schema}.clash()".encode()
        )
    assert store.insert(job("a"))
    assert queued(store) == 1


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
def test_an_outcome_whose_answer_is_lost_is_stored_once(
    store: Store, proxy: Proxy, postgres: str, fault: Fault
) -> None:
    store.insert(job("a"))
    node = open_node_store(canonical(proxy.url))
    (claim,) = node.exchange([], 1, 1.0).claims
    end = Finished(claim.uuid, claim.attempt, State.SUCCEEDED, "1", "", "", 1.0, 2.0, 9e9)
    sprung = proxy.trap(b'"succeeded"', fault)
    with pytest.raises(StoreError) as caught:
        node.exchange([end], 0, 1.0)
    assert sprung.is_set()
    assert caught.value.maybe_stored
    assert node.exchange([end], 0, 1.0).refused == (["a"] if fault is Fault.ANSWER_LOST else [])
    assert store.counts(1.0).by_state == {State.SUCCEEDED: 1}
    node.close()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_peer_that_vanished_is_noticed_by_the_system(proxy: Proxy, kind: Kind) -> None:
    connection = connect(canonical(proxy.url), kind, time.monotonic() + 5)
    with socket.socket(fileno=connection.fileno()) as sock:
        options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
        idle, interval, count, limit = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.detach()
    connection.close()
    assert idle + interval * count <= 11
    assert limit <= 10_000
