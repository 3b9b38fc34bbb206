// The tables of proto/README.md as data, and messages checked by them.
//
// Reads the specification itself and no source of Volt, so what passes here was understood from the
// document alone.
import { readFileSync } from "node:fs";

export class Bad extends Error {} // a message that breaks the specification; says where

const number = (text) => {
  const power = /^2\^(\d+)-1$/.exec(text);
  return power ? 2 ** Number(power[1]) - 1 : Number(text);
};

function field(key, type, required, limit) {
  const link = /^(word|list) of \[(\w+)\]\(#\w+\)$/.exec(type);
  const ret = { key, required, kind: link ? link[1] : type, of: link?.[2] };
  if (ret.kind === "list") ret.kind = "list of records";
  if (type === "integer") {
    [ret.min, ret.max] = limit.split(" ")[0].split("..").map(number);
  } else {
    const found = /^(?:(\d+) items)?(?: of )?(?:(\d+) bytes)?$/.exec(limit);
    if (!found) throw new Error(`${key}: limit '${limit}'`);
    ret.items = Number(found[1]);
    ret.bytes = Number(found[2]);
  }
  return ret;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Spec {
  // words: {set: [word]}; records and messages: {name: [field]}
  constructor(path) {
    const parts = { Words: {}, Records: {}, Messages: {} };
    const text = readFileSync(path, "utf8").split("<!-- tables")[1].split("<!-- end of tables -->")[0];
    let part, rows;
    for (const line of text.split("\n")) {
      if (line.startsWith("### ")) {
        part = line.slice(4);
      } else if (line.startsWith("#### ")) {
        rows = parts[part][line.slice(5)] = [];
      } else if (line.startsWith("| `")) {
        const cells = line.slice(1, -1).split("|").map((cell) => cell.trim());
        const key = cells[0].replaceAll("`", "");
        rows.push(part === "Words" ? key : field(key, cells[1], cells[2] === "required", cells[3]));
      }
    }
    this.words = parts.Words;
    this.records = parts.Records;
    this.messages = parts.Messages;
  }

  // Checks a decoded message and returns its fields, without unknown keys.
  check(message) {
    return this.#map(message.t, this.messages[message.t], message);
  }

  #map(where, fields, values) {
    const ret = {};
    for (const f of fields) {
      if (Object.hasOwn(values, f.key)) {
        const value = this.#value(`${where}.${f.key}`, f, values[f.key]);
        if (f.required || (value && value.length !== 0)) ret[f.key] = value;
      } else if (f.required) {
        throw new Bad(`${where}.${f.key} is missing`);
      }
    }
    return ret;
  }

  #value(where, f, value) {
    const need = (ok, what) => {
      if (!ok) throw new Bad(`${where} ${what}`);
    };
    switch (f.kind) {
      case "integer":
        need(Number.isInteger(value), "is no integer");
        need(value >= f.min && value <= f.max, "is out of range");
        return value;
      case "boolean":
        need(typeof value === "boolean", "is no boolean");
        return value;
      case "word":
        need(typeof value === "string" && this.words[f.of].includes(value), "is none of its words");
        return value;
      case "hex":
        need(typeof value === "string" && /^[0-9a-f]{32}$/.test(value), "is not 32 hex digits");
        return value;
      case "oid":
        need(typeof value === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(value), "is no commit id");
        return value;
      case "text":
      case "bytes":
        value = this.#bytes(where, f, value, f.kind);
        need(value.length > 0 || !f.required, "is empty");
        return value;
      default:
        need(Array.isArray(value), "is no list");
        need(value.length <= f.items, "has too many items");
        if (!f.of) {
          value = value.map((item) => this.#bytes(where, f, item, f.kind.slice(8)));
          need(value.every((item) => item.length > 0), "has an empty item");
          return value;
        }
        return value.map((item, i) => {
          need(item?.constructor === Object, "has an item that is no map");
          return this.#map(`${where}[${i}]`, this.records[f.of], item);
        });
    }
  }

  // Texts come out as string when they are UTF-8, else as bytes.
  #bytes(where, f, value, kind) {
    if (!(value instanceof Uint8Array) && !(kind === "text" && typeof value === "string"))
      throw new Bad(`${where} is no ${kind}`);
    const raw = typeof value === "string" ? Buffer.from(value) : value;
    if (raw.length > f.bytes) throw new Bad(`${where} has ${raw.length} bytes, over its limit`);
    if (kind === "text") {
      try {
        return utf8.decode(raw);
      } catch {
        // stays bytes
      }
    }
    return raw;
  }
}
