#!/usr/bin/python3
"""Writes proto/vectors/vectors.jsonl; scripts/protodoc calls it.

Valid messages of every type are made from the tables in proto/README.md with python3-msgpack, which
is not the encoder under test; the peculiar ones are put together by hand.  The same table gives the
same file: random content is seeded by the vector's name.
"""
import json
import os
import random
import struct

import msgpack

from spec import Spec

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   "..", "..", "proto", "vectors", "vectors.jsonl")
HEX = "00112233445566778899aabbccddeeff"
SHA1 = "0123456789abcdef0123456789abcdef01234567"
spec = Spec()
vectors = []


def plain(value):
    """For JSON: bytes as {"hex": ...}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def valid(name, frame, type_, fields, r=0):
    vectors.append({"name": name, "valid": True, "type": type_, "r": r, "fields": plain(fields),
                    "hex": frame.hex()})


def bad(rule, name, frame, key=None):
    """rule: frame, envelope, version or field; float is a field that not every language can tell."""
    vector = {"name": name, "valid": False, "rule": rule, "hex": frame.hex()}
    if key:
        vector["key"] = key
    vectors.append(vector)


# ---- valid ones of every type ----

def text(rng, size):
    out = ""
    while len(out.encode()) < size:
        left = size - len(out.encode())
        out += rng.choice([c for c in "abcXYZ019 -_/:'\"\n\\é…😀" if len(c.encode()) <= left])
    return out


def make_value(rng, field, style):
    def size(most):
        return most if style == "most" and most <= 128 else rng.randint(1, min(most, 12))

    kind = field.kind
    if kind == "integer":
        return {"least": field.min, "most": field.max}.get(
            style, rng.randint(max(field.min, 1), min(field.max, 70000)))
    if kind == "boolean":
        return True
    if kind == "word":
        return rng.choice(spec.words[field.of])
    if kind == "hex":
        return f"{rng.getrandbits(128):032x}"
    if kind == "oid":
        return f"{rng.getrandbits(256):064x}" if style == "most" else f"{rng.getrandbits(160):040x}"
    if kind == "text":
        return text(rng, size(field.bytes))
    if kind == "bytes":
        return rng.randbytes(size(field.bytes))
    if kind == "list of text":
        return [text(rng, size(field.bytes)) for _ in range(2)]
    if kind == "list of bytes":
        return [pack("event", {"hist": HEX, "seq": i, "kind": "submitted"}) for i in (1, 2)]
    return [make_fields(rng, spec.records[field.of], style),
            make_fields(rng, spec.records[field.of], "least")][:field.items]


def make_fields(rng, fields, style):
    return {f.key: make_value(rng, f, style) for f in fields if f.required or style != "least"}


def pack(type_, fields, r=0):
    head = {"v": 1, "t": type_}
    if r:
        head["r"] = r
    return msgpack.packb({**head, **fields}, use_bin_type=True)


def shorten(fields, values):
    """What is 0, false or empty may be left out, and readers take it as absent."""
    ret = {}
    for f in fields:
        if f.key in values and (f.required or values[f.key] not in (0, "", b"", [])):
            value = values[f.key]
            if f.kind == "list of records":
                value = [shorten(spec.records[f.of], item) for item in value]
            ret[f.key] = value
    return ret


def every_type():
    for type_, fields in spec.messages.items():
        for style, r in (("least", 0), ("middle", 7), ("most", 2 ** 53 - 1)):
            if not fields and style == "middle":
                continue
            name = f"{type_}, {style}"
            rng = random.Random(name)
            values = make_fields(rng, fields, style)
            valid(name, pack(type_, values, r), type_, shorten(fields, values), r)


# ---- by hand ----

def s(t):
    """A short str."""
    raw = t.encode() if isinstance(t, str) else t
    assert len(raw) < 32
    return bytes([0xa0 | len(raw)]) + raw


def m(*pairs):
    """A map of already encoded values."""
    assert len(pairs) < 16
    return bytes([0x80 | len(pairs)]) + b"".join(s(k) + v for k, v in pairs)


V, T_WHO, T_START = ("v", b"\x01"), ("t", s("who")), ("t", s("start"))
TASK, ATT = ("task", b"\x05"), ("att", b"\x02")


def start(task, att=b"\x02"):
    return m(V, T_START, ("task", task), ("att", att))


def peculiar_but_valid():
    five = {"task": 5, "att": 2}
    for name, form in (("uint 8", b"\xcc\x05"), ("uint 16", b"\xcd\x00\x05"),
                       ("uint 32", b"\xce\x00\x00\x00\x05"), ("uint 64", b"\xcf" + bytes(7) + b"\x05"),
                       ("int 8", b"\xd0\x05"), ("int 16", b"\xd1\x00\x05"),
                       ("int 32", b"\xd2\x00\x00\x00\x05"), ("int 64", b"\xd3" + bytes(7) + b"\x05")):
        valid(f"an integer in the form {name}", start(form), "start", five)
    valid("the greatest number", start(b"\xcf" + struct.pack(">Q", 2 ** 53 - 1)), "start",
          {"task": 2 ** 53 - 1, "att": 2})
    valid("the greatest number, as int 64", start(b"\xd3" + struct.pack(">q", 2 ** 53 - 1)), "start",
          {"task": 2 ** 53 - 1, "att": 2})
    for name, head in (("str 8", b"\xd9\x05"), ("str 16", b"\xda\x00\x05"),
                       ("str 32", b"\xdb\x00\x00\x00\x05"), ("bin 8", b"\xc4\x05"),
                       ("bin 16", b"\xc5\x00\x05"), ("bin 32", b"\xc6\x00\x00\x00\x05")):
        valid(f"a text in the form {name}", m(V, ("t", s("bye")), ("why", head + b"later")), "bye",
              {"why": "later"})
    valid("a text that is not UTF-8", m(V, ("t", s("bye")), ("why", b"\xc4\x03\xff\xfe\x00")), "bye",
          {"why": b"\xff\xfe\x00"})
    valid("a text with NUL and newline", m(V, ("t", s("bye")), ("why", s("a\0b\nc"))), "bye",
          {"why": "a\0b\nc"})
    valid("a key in the form str 8", b"\x82\xd9\x01v\x01\xd9\x01t" + s("who"), "who", {})
    valid("a map in the form map 16", b"\xde\x00\x02" + m(V, T_WHO)[1:], "who", {})
    valid("a map in the form map 32", b"\xdf\x00\x00\x00\x02" + m(V, T_WHO)[1:], "who", {})
    hb = ("t", s("hb")), ("n", b"\x00")
    one = m(TASK, ATT)
    valid("a list in the form array 16", m(V, *hb, ("held", b"\xdc\x00\x01" + one)), "hb",
          {"n": 0, "held": [five]})
    valid("a list in the form array 32", m(V, *hb, ("held", b"\xdd\x00\x00\x00\x01" + one)), "hb",
          {"n": 0, "held": [five]})
    valid("an empty list", m(V, *hb, ("held", b"\x90")), "hb", {"n": 0})
    valid("keys in another order", m(ATT, ("r", b"\x09"), TASK, T_START, V), "start", five, 9)
    valid("unknown keys of every type",
          m(V, T_START, TASK, ATT, ("x1", b"\xc0"), ("x2", b"\xc2"), ("x3", b"\xcb" + bytes(8)),
            ("x4", b"\xff"), ("x5", b"\xc4\x01\xff"), ("x6", b"\x92\x01\x80"),
            ("x7", m(("task", b"\x07")))), "start", five)
    valid("an unknown key in a record",
          m(V, *hb, ("held", b"\x91" + m(TASK, ("later", b"\x91\xc0"), ATT))), "hb",
          {"n": 0, "held": [five]})
    valid("r of 0", m(V, T_WHO, ("r", b"\x00")), "who", {})
    valid("false and 0 written out", m(V, ("t", s("builds")), ("max", b"\x00"), ("repo", s(""))),
          "builds", {})
    valid("nested as deeply as allowed", m(V, T_WHO, ("x", b"\x91" * 7 + b"\xc0")), "who", {})
    many = b"\xde\x00\x80" + m(V, T_WHO)[1:] + b"".join(s(f"x{i}") + b"\x01" for i in range(126))
    valid("as many keys as allowed", many, "who", {})


def bad_frames():
    who = m(V, T_WHO)
    bad("frame", "nothing", b"")
    bad("frame", "cut in the middle", who[:-1])
    bad("frame", "bytes behind the end", who + b"\xc0")
    bad("frame", "two objects", who + who)
    bad("frame", "an array", b"\x92\x01" + s("who"))
    bad("frame", "a number", b"\x01")
    bad("frame", "nil", b"\xc0")
    bad("frame", "an array that claims 2^28 items", b"\xdd\x10\x00\x00\x00")
    bad("frame", "a map that claims 2^32-1 pairs", b"\xdf\xff\xff\xff\xff")
    bad("frame", "a str that claims 2^32-1 bytes", m(V, T_WHO, ("x", b"\xdb\xff\xff\xff\xff")))
    bad("frame", "a bin longer than the frame", m(V, T_WHO, ("x", b"\xc4\x05abc")))
    bad("frame", "counts that only together exceed the frame",
        m(V, T_WHO, ("x", b"\x94\x93\xc0\xc0\xc0")))
    bad("frame", "nested too deeply", m(V, T_WHO, ("x", b"\x91" * 8 + b"\xc0")))
    bad("frame", "nested 1,000 deep", b"\x91" * 1000)
    bad("frame", "a key twice", m(V, T_START, TASK, ATT, TASK))
    bad("frame", "t twice", m(V, T_WHO, T_START))
    bad("frame", "an unknown key twice", m(V, T_WHO, ("x", b"\x01"), ("x", b"\x01")))
    bad("frame", "a key twice in a record",
        m(V, ("t", s("hb")), ("n", b"\x00"), ("held", b"\x91" + m(TASK, ATT, ATT))))
    bad("frame", "a key that is a number", b"\x83" + who[1:] + b"\x01\x01")
    bad("frame", "a key that is bin", b"\x83" + who[1:] + b"\xc4\x01x\x01")
    bad("frame", "a key that is nil", b"\x83" + who[1:] + b"\xc0\x01")
    bad("frame", "an ext value", m(V, T_WHO, ("x", b"\xc7\x01\x05a")))
    bad("frame", "a fixext value", m(V, T_WHO, ("x", b"\xd4\x05a")))
    bad("frame", "a timestamp", m(V, T_WHO, ("x", b"\xd6\xff\x00\x00\x00\x01")))
    bad("frame", "the byte that begins nothing", m(V, T_WHO, ("x", b"\xc1")))
    bad("frame", "a str that is not UTF-8", m(V, ("t", s("bye")), ("why", s(b"\xff"))))
    bad("frame", "a str with half a character", m(V, ("t", s("bye")), ("why", s(b"a\xe2\x80"))))
    bad("frame", "a str with a surrogate", m(V, ("t", s("bye")), ("why", s(b"\xed\xa0\x80"))))
    bad("frame", "a str with an overlong form", m(V, ("t", s("bye")), ("why", s(b"\xc0\x80"))))
    bad("frame", "a key that is not UTF-8", b"\x83" + who[1:] + s(b"\xff") + b"\x01")
    bad("frame", "too many keys", b"\xde\x00\x81" + who[1:] +
        b"".join(s(f"x{i}") + b"\x01" for i in range(127)))


def bad_envelopes():
    bad("envelope", "an empty map", b"\x80")
    bad("envelope", "v is missing", m(T_WHO))
    bad("envelope", "v is a text", m(("v", s("1")), T_WHO))
    bad("envelope", "v is negative", m(("v", b"\xff"), T_WHO))
    bad("version", "v of 2", m(("v", b"\x02"), T_WHO))
    bad("version", "v of 0", m(("v", b"\x00"), T_WHO))
    bad("version", "v of 2 and nothing else that is known", m(("v", b"\x02"), ("type", s("who"))))
    bad("envelope", "t is missing", m(V))
    bad("envelope", "t is a number", m(V, ("t", b"\x01")))
    bad("envelope", "t is bin", m(V, ("t", b"\xc4\x03who")))
    bad("envelope", "t is unknown", m(V, ("t", s("nonsense"))))
    bad("envelope", "t is empty", m(V, ("t", s(""))))
    bad("envelope", "t in capitals", m(V, ("t", s("WHO"))))
    bad("envelope", "r is a text", m(V, T_WHO, ("r", s("1"))))
    bad("envelope", "r is negative", m(V, T_WHO, ("r", b"\xff")))
    bad("envelope", "r is too great", m(V, T_WHO, ("r", b"\xcf" + struct.pack(">Q", 2 ** 53))))


def bad_fields():
    for type_, fields in spec.messages.items():
        rng = random.Random(type_)
        values = make_fields(rng, fields, "least")
        for f in (f for f in fields if f.required):
            less = {k: v for k, v in values.items() if k != f.key}
            bad("field", f"{type_} without {f.key}", pack(type_, less), f"{type_}.{f.key}")
    for name, form in (("0", b"\x00"), ("2^53", b"\xcf" + struct.pack(">Q", 2 ** 53)),
                       ("2^64-1", b"\xcf" + b"\xff" * 8), ("-1", b"\xff"),
                       ("-2^63", b"\xd3\x80" + bytes(7)), ("nil", b"\xc0"), ("true", b"\xc3"),
                       ("the text 5", s("5")), ("a list", b"\x91\x05"), ("a map", m(TASK)),
                       ("1.5", b"\xcb" + struct.pack(">d", 1.5))):
        bad("field", f"task is {name}", start(form), "start.task")
    bad("float", "task is 1.0", start(b"\xcb" + struct.pack(">d", 1.0)), "start.task")
    bad("field", "att of 2^32", start(b"\x01", b"\xcf" + struct.pack(">Q", 2 ** 32)), "start.att")
    submit = {"sid": HEX, "repo": "a", "url": "/srv/a.git", "oid": SHA1, "ref": "refs/heads/main"}
    for name, change in (("sid in capitals", {"sid": HEX.upper()}), ("sid too short", {"sid": HEX[:-1]}),
                         ("sid too long", {"sid": HEX + "0"}), ("sid empty", {"sid": ""}),
                         ("sid as bin", {"sid": HEX.encode()}), ("oid of 41 digits", {"oid": SHA1 + "0"}),
                         ("oid abbreviated", {"oid": SHA1[:8]}), ("repo empty", {"repo": ""}),
                         ("repo of 129 bytes", {"repo": "a" * 129}),
                         ("repo of 65 characters in 130 bytes", {"repo": "é" * 65}),
                         ("repo is a number", {"repo": 5}), ("priority of 1,001", {"priority": 1001})):
        bad("field", name, pack("submit", {**submit, **change}), "submit." + next(iter(change)))
    for name, change in (("dup is 1", {"dup": 1}), ("verdict unknown", {"verdict": "good"}),
                         ("verdict empty", {"verdict": ""}), ("verdict a number", {"verdict": 1})):
        bad("field", name, pack("accepted", {"sid": HEX, "build": 1, **change}),
            "accepted." + next(iter(change)))
    bad("field", "log bytes as str", pack("log", {"task": 1, "att": 1, "d": "x"}), "log.d")
    hb = {"n": 0}
    for name, held in (("a number", 1), ("a map", {}), ("a list of numbers", [1])):
        bad("field", f"held is {name}", pack("hb", {**hb, "held": held}), "hb.held")
    hello = {"vmin": 1, "vmax": 1, "id": HEX, "name": "box", "boot": HEX, "slots": 1}
    bad("field", "33 labels", pack("hello", {**hello, "labels": ["a"] * 33}), "hello.labels")
    bad("field", "a label of 65 bytes", pack("hello", {**hello, "labels": ["a" * 65]}), "hello.labels")
    bad("field", "a label that is empty", pack("hello", {**hello, "labels": ["a", ""]}), "hello.labels")
    bad("field", "a label that is a number", pack("hello", {**hello, "labels": [1]}), "hello.labels")
    bad("field", "an item of held without att", pack(
        "hb", {**hb, "held": [{"task": 1, "att": 1}, {"task": 2}]}), "hb.held[1].att")


def main():
    every_type()
    peculiar_but_valid()
    bad_frames()
    bad_envelopes()
    bad_fields()
    names = [v["name"] for v in vectors]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    with open(OUT, "w", encoding="utf-8") as out:
        for vector in vectors:
            out.write(json.dumps(vector, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
