"""Who reads and who does not, by what TCP says; and what is done about it."""

from __future__ import annotations

import socket
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sinks_hub import Bench, FakeTransport, run

from ambient.sinks.framing import websocket_text
from ambient.sinks.listener import ANSWER_SECONDS, PING_SECONDS, STALL_SECONDS, Ended, Listener
from ambient.sinks.protocol import Codec
from ambient.sinks.reading import Peer, Reading, peer_of

BUFFER = 128 * 1024


class FakePeer:
    """A kernel that takes 12,500 bytes a second, and a program that reads at a pace of its own."""

    def __init__(self, packs: float = 0.0) -> None:
        self.packs = packs
        """Share of what is kept that takes no room of the window."""
        self.now = 100.0
        self.taken = self.kept = 0
        self.heard_at = self.now
        self.reachable = True

    def __call__(self) -> Peer:
        acknowledged_seconds = 0.1 if self.reachable else 60.0
        room = round(BUFFER - self.kept * (1 - self.packs))
        return Peer(self.taken, room, acknowledged_seconds, self.now - self.heard_at)

    def second(self, sent: int = 12_500, read: int = 0) -> None:
        self.now += 1
        took = min(sent, BUFFER - self.kept) if self.reachable else 0
        self.taken += took
        self.kept = max(0, self.kept + took - read)


def watched(packs: float = 0.0) -> tuple[FakePeer, Reading]:
    peer = FakePeer(packs)
    return peer, Reading(peer, lambda: peer.now)


@pytest.mark.parametrize("packs", [0.0, 0.2, 0.5])
def test_a_peer_that_reads_nothing_is_noticed_while_its_kernel_still_takes_all(packs):
    peer, reading = watched(packs)
    for second in range(8):
        peer.second()
        reading.look()
        assert reading.stuck_seconds == max(0, second)
    assert peer.kept < BUFFER


@settings(max_examples=50)
@given(st.lists(st.integers(1, 4), min_size=4, max_size=20), st.floats(0, 0.5))
def test_a_peer_that_reads_now_and_then_is_not_stuck(pauses, packs):
    peer, reading = watched(packs)
    for pause in pauses:
        for second in range(pause):
            peer.second(read=1 << 30 if second == pause - 1 else 0)
            reading.look()
            assert reading.stuck_seconds < STALL_SECONDS


def test_a_peer_that_gets_nothing_or_is_out_of_reach_is_not_stuck():
    peer, reading = watched()
    for _ in range(60):
        peer.second(sent=0)
        reading.look()
    assert reading.stuck_seconds == 0
    peer.second(read=0)
    reading.look()
    peer.reachable = False
    for _ in range(60):
        peer.second()
        reading.look()
        assert reading.stuck_seconds == 0


@run
async def test_a_listener_whose_peer_is_stuck_is_cut_off():
    bench = Bench()
    peer, transport = FakePeer(), FakeTransport()
    reading = Reading(peer, lambda: peer.now)
    listener = Listener(transport, lambda: bench.now, None, reading=reading)
    bench.hub.join(listener, "wav", 0)
    while not listener.ended.done():
        assert bench.now < 10
        peer.second()
        await bench.play(50)
        bench.hub.pump()
    assert STALL_SECONDS < bench.now < 10
    assert transport.aborted and listener.ended.result() is Ended.STALLED


@pytest.mark.parametrize("answers", [True, False])
@run
async def test_a_websocket_that_says_nothing_is_asked_and_cut_off_when_it_does_not_answer(answers):
    bench = Bench()
    peer, transport = FakePeer(), FakeTransport()
    listener = Listener(transport, lambda: bench.now, websocket_text, reading=Reading(peer, lambda: peer.now))
    bench.hub.watch(listener)
    pings = 0
    while bench.now < 30 and not listener.ended.done():
        peer.second(read=1 << 30)
        await bench.play(50)
        bench.hub.pump()
        asked = [opcode for opcode, _ in transport.messages].count(9)
        if asked > pings and answers:
            peer.heard_at = peer.now
        pings = asked
    if answers:
        assert not listener.ended.done() and 30 / (PING_SECONDS + 3) <= pings <= 30 / PING_SECONDS
    else:
        assert PING_SECONDS + ANSWER_SECONDS < bench.now < 10 and transport.aborted


@run
async def test_a_server_that_looks_too_seldom_cuts_nobody_off_who_was_not_asked():
    bench = Bench()
    peer, transport = FakePeer(), FakeTransport()
    listener = Listener(transport, lambda: bench.now, websocket_text, reading=Reading(peer, lambda: peer.now))
    bench.hub.watch(listener)
    for _ in range(5):
        peer.now += 9
        bench.now += 9
        bench.hub.pump()
        assert not listener.ended.done() and transport.messages[-1][0] == 9
        peer.heard_at = peer.now - 0.002  # the answer, by a clock of whole milliseconds


@run
async def test_a_slow_line_need_not_answer_ahead_of_its_sound():
    bench = Bench()
    peer, transport = FakePeer(), FakeTransport()
    listener = Listener(transport, lambda: bench.now, websocket_text, reading=Reading(peer, lambda: peer.now))
    listener.codec = Codec.OPUS
    bench.hub.join(listener, "opus", 0)
    transport.reading = False
    for _ in range(20):
        peer.second(read=1 << 30)
        await bench.play(50)
        transport.held = max(1, transport.held - 20_000)
        bench.hub.pump()
    assert not listener.ended.done() and not [opcode for opcode, _ in transport.messages if opcode == 9]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell less of a peer")
@pytest.mark.parametrize("size", [1000, 2040, 4000, 8000])
def test_a_real_kernel_that_keeps_what_nobody_reads_is_noticed_and_one_whose_program_reads_is_not(size):
    """Segments of 2 KB are those that a kernel packs best."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        sender, _ = server.accept()
        with sender:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            now, sent = [0.0], 0
            reading = Reading(lambda: peer_of(sender), lambda: now[0])
            for reads in (True, False):
                for _ in range(6 if reads else 8):
                    for _ in range(10_000 // size):
                        sent += sender.send(bytes(size))
                        if reads:
                            client.recv(1 << 16)
                    now[0] += 1.5
                    deadline = time.monotonic() + 1
                    while (peer := peer_of(sender)) and peer.acknowledged < sent and time.monotonic() < deadline:
                        time.sleep(0.001)  # acknowledgements may take 40 ms
                    reading.look()
                assert (reading.stuck_seconds > STALL_SECONDS) is not reads


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell less of a peer")
def test_what_linux_tells_of_a_peer():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ours, _ = server.accept()
        with ours:
            client.sendall(b"hello")
            assert ours.recv(5) == b"hello"
            ours.sendall(bytes(5000))
            assert len(client.recv(5000, socket.MSG_WAITALL)) == 5000
            peer = peer_of(ours)
    assert peer is not None and peer.acknowledged == 5000 and peer.room > 5000
    assert peer.acknowledged_seconds < 5 and peer.silent_seconds < 5


def test_what_is_no_tcp_socket_tells_nothing():
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) is None
    reading = Reading(lambda: None, lambda: 0.0)
    reading.look()
    assert reading.stuck_seconds == reading.silent_seconds == 0.0
