import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocron import wire
from autocron.model import Claim, Succeeded


@given(st.lists(st.sampled_from([wire.Wake(), wire.Subscribe("u"), wire.Bye(now=True)])), st.integers(1, 7))
def test_a_stream_cut_anywhere_gives_the_same_messages(messages: list[wire.FromApp], size: int):
    stream = b"".join(wire.frame(message) for message in messages)
    reader = wire.FrameReader(wire.FromApp)
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [message for part in parts for message in reader.feed(part)] == messages


@given(st.binary(min_size=1, max_size=200))
def test_rubbish_is_a_wire_error_or_waits_for_more(data: bytes):
    reader = wire.FrameReader(wire.FromApp)
    try:
        messages = reader.feed(data)
    except wire.WireError:
        return
    assert isinstance(messages, list)


def test_an_oversized_frame_is_refused_before_it_is_read():
    with pytest.raises(wire.WireError, match="too large"):
        wire.FrameReader(wire.FromApp).feed((wire.MAX_FRAME + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("size", [10, wire.MAX_DATAGRAM - 1, wire.MAX_DATAGRAM * 20])
def test_messages_of_any_size_pass_a_channel(size: int):
    ours, theirs = wire.channel_pair()
    node, worker = wire.Channel(ours, wire.FromWorker), wire.Channel(theirs, wire.ToWorker)
    begin = wire.Begin([Claim("u", 1, "task", "x" * size, 0.0)], 0)
    before = len(list(Path("/dev/fd").iterdir()))
    node.send(begin)
    assert worker.receive() == begin
    ended = wire.Ended("u", 1, Succeeded("y" * size), 1.0, 2.0, 1.0)
    worker.send(ended)
    assert node.receive(socket.MSG_DONTWAIT) == ended
    assert len(list(Path("/dev/fd").iterdir())) == before
    with pytest.raises(BlockingIOError):
        node.receive(socket.MSG_DONTWAIT)
    node.close()
    assert worker.receive() is None
    worker.close()
