"""Strangers on the Kafka port.

    hostile.py list
    hostile.py run ATTACK BOOTSTRAP SEED

Each attack is a function that returns what it did; it fails when the node does what it must not.
That the node lives, stays small and serves honest clients is watched from outside meanwhile.
Only the standard library is used: an attacker needs no client.
"""

import random
import select
import socket
import struct
import sys
import time

PRODUCE, FETCH, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 3, 18, 19
NEWEST = {PRODUCE: 13, FETCH: 17, METADATA: 13, API_VERSIONS: 4, CREATE_TOPICS: 7}
CONNECTIONS = 3_000


def attack(function):
    ATTACKS[function.__name__] = function
    return function


ATTACKS = {}


class Target:
    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.address = (host, int(port))

    def connect(self, timeout=10):
        connection = socket.create_connection(self.address, timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def closes(self, data, within=10):
        """Sends bytes; true if the node closes the connection in time, whatever it says before."""
        with self.connect(within) as connection:
            try:
                connection.sendall(data)
                while connection.recv(65536):
                    pass
            except TimeoutError:
                return False
            except ConnectionError:
                pass
            return True

    def answers(self):
        """An honest request on a new connection, answered in time."""
        with self.connect() as connection:
            connection.sendall(frame(request(API_VERSIONS, 0)))
            head = receive(connection, 8)
            return struct.unpack(">i", head[4:])[0] == 7


def receive(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("closed early")
        data += part
    return data


def frame(body):
    return struct.pack(">i", len(body)) + body


def request(api, version, body=b""):
    """A request with the old header; enough for every decoder to start on its body."""
    return struct.pack(">hhih", api, version, 7, -1) + body


@attack
def random_bytes(target, rng):
    """Noise, as it is and in frames of the right size."""
    for number in range(400):
        noise = rng.randbytes(rng.randrange(1, 3_000))
        with target.connect() as connection:
            connection.sendall(noise if number % 2 else frame(noise))
    assert target.answers()
    return "400 connections of noise"


@attack
def fuzzed_requests(target, rng):
    """Random bodies behind valid headers of every API and version."""
    sent = 0
    for _ in range(3):
        for api in range(-1, 95):
            with target.connect() as connection:
                body = bytearray(rng.randbytes(rng.randrange(0, 200)))
                version = rng.randrange(-1, 15)
                connection.sendall(frame(request(api, version, bytes(body))))
                sent += 1
    assert target.answers()
    return f"{sent} requests"


@attack
def flipped_bits(target, rng):
    """Requests that are nearly right: a bit flipped, a byte cut, a count raised."""
    topic = b"\x00\x00\x00\x01\x00\x06honest"
    for number in range(600):
        body = bytearray(request(METADATA, number % 9, topic + b"\x01\x01\x01"))
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        with target.connect() as connection:
            connection.sendall(frame(bytes(body[: rng.randrange(1, len(body) + 1)])))
    assert target.answers()
    return "600 requests"


@attack
def huge_frames(target, _rng):
    """Sizes that are negative or beyond every limit are refused before anything is allocated."""
    for size in (-1, -(2**31), 2**31 - 1, 2**30, 101 * 1024 * 1024):
        assert target.closes(struct.pack(">i", size) + b"x" * 100), f"{size} was taken"
    return "5 sizes closed"


@attack
def huge_counts(target, _rng):
    """Counts that promise more than the frame holds cost no memory."""
    closed = 0
    for api, newest in NEWEST.items():
        for version in range(newest + 1):
            for count in (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x80\x00\x00\x00"):
                body = b"\x00" * (version % 5) + count * 8
                closed += target.closes(frame(request(api, version, body)), within=1)
    assert target.answers()
    return f"{closed} closed"


@attack
def promised_megabytes(target, _rng):
    """Many connections that promise a large frame and send little of it."""
    connections = []
    for _ in range(300):
        connection = target.connect()
        connection.sendall(struct.pack(">i", 90 * 1024 * 1024) + b"\x00" * 1000)
        connections.append(connection)
    time.sleep(1)
    assert target.answers()
    for connection in connections:
        connection.close()
    return "300 promises of 90 MiB"


@attack
def tls_hello(target, _rng):
    """A TLS client on a plain port is closed at once."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 506
    started = time.monotonic()
    for _ in range(50):
        assert target.closes(hello, within=5), "the connection stayed open"
    assert time.monotonic() - started < 25
    return "50 hellos closed"


@attack
def http_requests(target, _rng):
    """A browser on the Kafka port is closed at once."""
    for verb in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS"):
        text = verb + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert target.closes(text, within=5), "the connection stayed open"
    return "5 requests closed"


@attack
def slow_senders(target, _rng):
    """Frames that come a byte at a time keep nobody else waiting."""
    connections = [target.connect() for _ in range(100)]
    data = frame(request(METADATA, 1, b"\xff\xff\xff\xff"))
    for byte in data[:-1]:
        for connection in connections:
            connection.sendall(bytes([byte]))
        assert target.answers()
    for connection in connections:
        connection.sendall(data[-1:])
    for connection in connections:
        receive(connection, 8)
        connection.close()
    return "100 senders, all answered in the end"


@attack
def half_open(target, _rng):
    """Connections that say nothing, and ones whose peer half is closed."""
    silent = [target.connect() for _ in range(500)]
    for connection in silent[:250]:
        connection.sendall(b"\x00\x00")
        connection.shutdown(socket.SHUT_WR)
    assert target.answers()
    for connection in silent:
        connection.close()
    return "500 connections"


@attack
def thousands_of_connections(target, _rng):
    """More connections than a node may want; honest ones get through afterwards."""
    connections = []
    for _ in range(CONNECTIONS):
        try:
            connection = target.connect(5)
            connection.sendall(frame(request(API_VERSIONS, 0)))
            connections.append(connection)
        except OSError:
            break
    opened = len(connections)
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if target.answers():
                return f"{opened} connections"
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no honest connection within 20 s")


@attack
def slow_readers(target, _rng):
    """Clients that ask without end and never read: the node stops reading, it does not grow."""
    asked = 0
    connections = []
    data = frame(request(API_VERSIONS, 0)) * 100
    for _ in range(50):
        connection = target.connect()
        connection.setblocking(False)
        connections.append(connection)
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        _, writable, _ = select.select([], connections, [], 0.2)
        for connection in writable:
            try:
                asked += connection.send(data)
            except BlockingIOError:
                pass
            except ConnectionError:
                connections.remove(connection)
                connection.close()
    assert target.answers()
    for connection in connections:
        connection.close()
    return f"{asked >> 10} KiB of requests sent, nothing read"


@attack
def churn(target, rng):
    """Connections opened and reset in the middle of a request."""
    for _ in range(1_500):
        connection = target.connect()
        connection.sendall(frame(request(METADATA, 1))[: rng.randrange(1, 14)])
        # No lingering: closing sends a reset.
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
    assert target.answers()
    return "1500 resets"


@attack
def bad_batches(target, rng):
    """Record batches with wrong sizes, sums, codecs and counts are answered with errors."""
    answered = 0
    for _ in range(200):
        batch = bytearray(61 + rng.randrange(0, 200))
        struct.pack_into(">qiibi", batch, 0, 0, len(batch) - 12, -1, 2, rng.getrandbits(31))
        struct.pack_into(">hi", batch, 21, rng.randrange(0, 8), rng.randrange(0, 2**31))
        struct.pack_into(">i", batch, 57, rng.choice([1, 0, -1, 2**31 - 1]))
        body = struct.pack(">hhii", -1, 1, 1000, 1) + b"\x00\x06honest"
        body += struct.pack(">iii", 1, 0, len(batch)) + batch
        with target.connect() as connection:
            connection.sendall(frame(request(PRODUCE, 3, body)))
            size = struct.unpack(">i", receive(connection, 4))[0]
            answer = receive(connection, size)
            # Correlation id, one topic "honest", one partition 0, its error code.
            error = struct.unpack_from(">h", answer, 4 + 4 + 2 + 6 + 4 + 4)[0]
            assert error != 0, "a bad batch was accepted"
            answered += 1
    return f"{answered} refused"


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print("\n".join(ATTACKS))
    else:
        _, _, name, bootstrap, seed = sys.argv
        print(ATTACKS[name](Target(bootstrap), random.Random(f"{name} {seed}")))
