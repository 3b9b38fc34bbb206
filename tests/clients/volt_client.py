"""A small client of Volt, written from proto/README.md alone (python3-zmq, python3-msgpack).

    client = Client("localhost", 8888)
    print(client.ask("status")["running"])
    for topic, message in Subscriber("localhost", 8888, "e."): ...
"""
import os
import time

import msgpack
import zmq

VERSION = 1
DEPTH_MAX = 8
KEYS_MAX = 128


class BadFrame(Exception):
    """A frame that every reader refuses."""


class BadVersion(BadFrame):
    pass


class Refused(Exception):
    """The dispatcher's `err`."""

    def __init__(self, message):
        super().__init__(f"{message['code']}: {message.get('msg', '')}")
        self.code = message["code"]


def encode(type_, r=0, **fields):
    """Leaves out what is None; everything else is sent as it is."""
    message = {"v": VERSION, "t": type_}
    if r:
        message["r"] = r
    message.update((k, v) for k, v in fields.items() if v is not None)
    return msgpack.packb(message, use_bin_type=True)


def _pairs(pairs):
    ret = dict(pairs)
    if len(ret) != len(pairs):
        raise BadFrame("a key comes twice")
    if len(pairs) > KEYS_MAX:
        raise BadFrame("a map of too many keys")
    if not all(type(key) is str for key in ret):
        raise BadFrame("a key that is not str")
    return ret


def _refuse_ext(code, data):
    raise BadFrame(f"ext type {code}")


def _check_depth(value):
    level, depth = [value], 0
    while level:
        inner = []
        for item in level:
            if isinstance(item, (msgpack.Timestamp, msgpack.ExtType)):
                raise BadFrame("ext type")
            inner += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        depth += any(isinstance(item, (dict, list)) for item in level)
        level = inner
    if depth > DEPTH_MAX:
        raise BadFrame("nested too deeply")


def decode(frame):
    """The message as a dict; its fields are not checked (see spec.py)."""
    try:
        message = msgpack.unpackb(frame, raw=False, strict_map_key=False,
                                  object_pairs_hook=_pairs, ext_hook=_refuse_ext)
        _check_depth(message)
    except BadFrame:
        raise
    except Exception as e:  # msgpack has no common base for what it raises
        raise BadFrame(f"{type(e).__name__}: {e}") from e
    if type(message) is not dict:
        raise BadFrame("not a map")
    if type(message.get("v")) is not int or message["v"] < 0:
        raise BadFrame("v is missing or no integer")
    if message["v"] != VERSION:
        raise BadVersion(f"protocol version {message['v']}")
    if type(message.get("t")) is not str:
        raise BadFrame("t is missing or not str")
    r = message.get("r", 0)
    if type(r) is not int or not 0 <= r < 2 ** 53:
        raise BadFrame("r is no request number")
    return message


def hex32():
    return os.urandom(16).hex()


def _endpoint(host, port):
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


class Work:
    """A DEALER to the work port: what runners and clients share."""

    def __init__(self, host, port, context=None):
        self.socket = (context or zmq.Context.instance()).socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.connect(_endpoint(host, port + 1))

    def send(self, type_, r=0, **fields):
        self.socket.send(encode(type_, r, **fields))

    def receive(self, timeout_s):
        """The next message, or None."""
        if not self.socket.poll(max(0, int(timeout_s * 1000))):
            return None
        return decode(self.socket.recv())

    def close(self):
        self.socket.close()


class Client(Work):
    """Queries and commands.  ask() repeats an unanswered question: each is idempotent."""

    def __init__(self, host, port, context=None):
        super().__init__(host, port, context)
        self.r = 0

    def ask(self, type_, timeout_s=10, **fields):
        self.r += 1
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.send(type_, self.r, **fields)
            again = min(end, time.monotonic() + 2)
            while time.monotonic() < again:
                answer = self.receive(again - time.monotonic())
                if not answer or answer.get("r") != self.r:
                    continue
                if answer["t"] == "err":
                    raise Refused(answer)
                return answer
        raise TimeoutError(f"no answer to {type_} within {timeout_s} s")


class Subscriber:
    """Published messages: next(timeout_s) gives (topic, message), or None."""

    def __init__(self, host, port, *topics, context=None):
        self.socket = (context or zmq.Context.instance()).socket(zmq.SUB)
        self.socket.setsockopt(zmq.RCVHWM, 100000)
        self.socket.setsockopt(zmq.IPV6, 1)
        for topic in topics:
            self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self.socket.connect(_endpoint(host, port + 2))

    def next(self, timeout_s):
        if not self.socket.poll(max(0, int(timeout_s * 1000))):
            return None
        topic, payload = self.socket.recv_multipart()
        return topic.decode(), decode(payload)

    def close(self):
        self.socket.close()
