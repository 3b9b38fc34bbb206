#!/usr/bin/python3
"""Every conformance message of proto/vectors/ is taken or refused as it says."""
import json
import os
import sys

try:
    import volt_client
except ImportError as missing:
    print(missing)
    sys.exit(77)
from spec import Bad, Spec

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "..", "..", "proto", "vectors", "vectors.jsonl")


def plain(value):
    """As the vectors write values: bytes as {"hex": ...}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def read(spec, frame):
    """(what is wrong, where, message, fields); what is wrong is None, or the rule that is broken."""
    try:
        message = volt_client.decode(frame)
    except volt_client.BadVersion:
        return "version", None, None, None
    except volt_client.BadFrame:
        return "frame", None, None, None
    if message["t"] not in spec.messages:
        return "envelope", None, None, None
    try:
        return None, None, message, spec.check(message)
    except Bad as e:
        return "field", str(e), None, None


def check(spec, vector):
    wrong, where, message, fields = read(spec, bytes.fromhex(vector["hex"]))
    if not vector["valid"]:
        want = {"envelope": ("frame", "envelope"), "float": ("field",)}.get(vector["rule"],
                                                                          (vector["rule"],))
        if wrong not in want:
            return f"is {wrong or 'taken'}, not {vector['rule']}"
        key = vector.get("key")
        return f"'{where}' does not name {key}" if key and key not in where else None
    if wrong:
        return f"is refused: {wrong} {where}"
    got = message["t"], message.get("r", 0), plain(fields)
    if got != (vector["type"], vector["r"], vector["fields"]):
        return f"reads as {got}"
    again = volt_client.decode(volt_client.encode(message["t"], message.get("r", 0), **fields))
    if plain(spec.check(again)) != vector["fields"]:
        return "changes when it is encoded again"
    return None


def main():
    spec = Spec()
    taken, failed = {}, 0
    with open(VECTORS, encoding="utf-8") as file:
        vectors = [json.loads(line) for line in file]
    for vector in vectors:
        complaint = check(spec, vector)
        if complaint:
            failed += 1
            print(f"{vector['name']}: {complaint}")
        if vector["valid"]:
            taken[vector["type"]] = True
    for type_ in spec.messages:
        if type_ not in taken:
            failed += 1
            print(f"no vector of type {type_}: run scripts/protodoc")
    print(f"{len(vectors)} vectors, {failed} complaints")
    return 1 if failed or not vectors else 0


if __name__ == "__main__":
    sys.exit(main())
