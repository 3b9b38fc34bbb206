"""The tables of proto/README.md as data, and messages checked by them.

Reads the specification itself and no source of Volt, so what passes here was understood from the
document alone.
"""
import os
import re

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto", "README.md")


class Bad(Exception):
    """A message that breaks the specification; says where."""


class Field:
    def __init__(self, key, kind, required, limit):
        self.key = key
        self.required = required
        link = re.fullmatch(r"(word|list) of \[(\w+)\]\(#\w+\)", kind)
        self.kind = link.group(1) if link else kind
        self.of = link.group(2) if link else None  # the set of words, or the record
        if self.kind == "list":
            self.kind = "list of records"
        self.items = self.bytes = self.min = self.max = None
        found = re.fullmatch(r"(?:(\d+) items)?(?: of )?(?:(\d+) bytes)?", limit)
        if kind == "integer":
            low, high = limit.split()[0].split("..")
            self.min, self.max = number(low), number(high)
        elif found:
            self.items = int(found.group(1)) if found.group(1) else None
            self.bytes = int(found.group(2)) if found.group(2) else None
        else:
            raise ValueError(f"{key}: limit '{limit}'")


def number(text):
    power = re.fullmatch(r"2\^(\d+)-1", text)
    return 2 ** int(power.group(1)) - 1 if power else int(text)


class Spec:
    """words: {set: [word]}; records and messages: {name: [Field]}."""

    def __init__(self, path=README):
        self.words, self.records, self.messages = {}, {}, {}
        part, rows = None, []
        parts = {"Words": self.words, "Records": self.records, "Messages": self.messages}
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for line in text.split("<!-- tables")[1].split("<!-- end of tables -->")[0].splitlines():
            if line.startswith("### "):
                part = line[4:]
            elif line.startswith("#### "):
                rows = parts[part][line[5:]] = []
            elif line.startswith("| `"):
                cells = [cell.strip() for cell in line[1:-1].split("|", 4)]
                key = cells[0].strip("`")
                rows.append(key if part == "Words"
                            else Field(key, cells[1], cells[2] == "required", cells[3]))

    def check(self, message):
        """Checks a decoded message (a dict) and returns its fields, without unknown keys."""
        return self._map(message["t"], self.messages[message["t"]], message)

    def _map(self, where, fields, values):
        ret = {}
        for field in fields:
            if field.key in values:
                value = self._value(f"{where}.{field.key}", field, values[field.key])
                if field.required or value not in (0, "", b"", []):  # also False
                    ret[field.key] = value
            elif field.required:
                raise Bad(f"{where}.{field.key} is missing")
        return ret

    def _value(self, where, field, value):
        def need(ok, what):
            if not ok:
                raise Bad(f"{where} {what}: {value!r}")

        kind = field.kind
        if kind == "integer":
            need(type(value) is int, "is no integer")
            need(field.min <= value <= field.max, "is out of range")
        elif kind == "boolean":
            need(type(value) is bool, "is no boolean")
        elif kind == "word":
            need(type(value) is str and value in self.words[field.of], "is none of its words")
        elif kind == "hex":
            need(type(value) is str and re.fullmatch("[0-9a-f]{32}", value), "is not 32 hex digits")
        elif kind == "oid":
            need(type(value) is str and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", value),
                 "is no commit id")
        elif kind in ("text", "bytes"):
            value = self._bytes(where, field, value, kind)
            need(value or not field.required, "is empty")
        elif kind in ("list of text", "list of bytes", "list of records"):
            need(type(value) is list, "is no list")
            need(len(value) <= field.items, "has too many items")
            if field.of:
                for item in value:
                    need(type(item) is dict, "has an item that is no map")
                value = [self._map(f"{where}[{i}]", self.records[field.of], item)
                         for i, item in enumerate(value)]
            else:
                value = [self._bytes(where, field, item, kind[8:]) for item in value]
                need(all(value), "has an empty item")
        else:
            raise ValueError(f"{where}: type '{kind}'")
        return value

    def _bytes(self, where, field, value, kind):
        """Texts come out as str when they are UTF-8, else as bytes."""
        if type(value) not in ((bytes,) if kind == "bytes" else (str, bytes)):
            raise Bad(f"{where} is no {kind}: {value!r}")
        raw = value.encode() if type(value) is str else value
        if len(raw) > field.bytes:
            raise Bad(f"{where} has {len(raw)} bytes, over its limit of {field.bytes}")
        if kind == "text":
            try:
                return raw.decode()
            except UnicodeDecodeError:
                pass
        return raw
