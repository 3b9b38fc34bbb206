// A small client of Volt, written from proto/README.md alone (npm zeromq, @msgpack/msgpack).
//
//   const client = new Client("localhost", 8888);
//   console.log((await client.ask("status")).running);
//   for await (const [topic, message] of new Subscriber("localhost", 8888, "e.")) ...
import { randomBytes } from "node:crypto";
import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import * as zmq from "zeromq";

export const VERSION = 1;
const DEPTH_MAX = 8;
const KEYS_MAX = 128;

export class BadFrame extends Error {} // a frame that every reader refuses
export class BadVersion extends BadFrame {}
export class Refused extends Error {
  constructor(message) {
    super(`${message.code}: ${message.msg ?? ""}`);
    this.code = message.code;
  }
}

// Leaves out what is undefined; everything else is sent as it is.
export function encode(type, r, fields = {}) {
  const message = { v: VERSION, t: type, ...(r ? { r } : {}), ...fields };
  return Buffer.from(pack(message, { ignoreUndefined: true }));
}

// ---- the rules of a frame that @msgpack/msgpack does not check, over the raw bytes ----

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// What a first byte says: kind, bytes of length that follow, length or count when these are none.
function head(b) {
  if (b < 0x80 || b >= 0xe0) return ["scalar", 0, 0];
  if (b < 0x90) return ["map", 0, b & 15];
  if (b < 0xa0) return ["array", 0, b & 15];
  if (b < 0xc0) return ["str", 0, b & 31];
  if (b === 0xc0 || b === 0xc2 || b === 0xc3) return ["scalar", 0, 0];
  if (b >= 0xc4 && b <= 0xc6) return ["bin", 1 << (b - 0xc4), 0];
  if (b === 0xca || b === 0xcb) return ["scalar", 0, b === 0xca ? 4 : 8];
  if (b >= 0xcc && b <= 0xd3) return ["scalar", 0, 1 << ((b - 0xcc) & 3)];
  if (b >= 0xd9 && b <= 0xdb) return ["str", 1 << (b - 0xd9), 0];
  if (b === 0xdc || b === 0xdd) return ["array", b === 0xdc ? 2 : 4, 0];
  if (b === 0xde || b === 0xdf) return ["map", b === 0xde ? 2 : 4, 0];
  throw new BadFrame("an ext type, or a byte that begins nothing");
}

export function guard(frame) {
  const levels = []; // {left, keys}: objects still to come; keys of a map
  let at = 0;
  const take = (n) => {
    if (at + n > frame.length) throw new BadFrame("ends too early");
    at += n;
    return at - n;
  };
  do {
    const level = levels.at(-1);
    const isKey = level?.keys && level.left % 2 === 0;
    let [kind, sizeBytes, size] = head(frame[take(1)]);
    if (sizeBytes) size = frame.readUIntBE(take(sizeBytes), sizeBytes);
    if (level) level.left--;
    if (isKey && kind !== "str") throw new BadFrame("a key that is not str");
    if (kind === "map" || kind === "array") {
      if (levels.length === DEPTH_MAX) throw new BadFrame("nested too deeply");
      if (kind === "map" && size > KEYS_MAX) throw new BadFrame("a map of too many keys");
      const left = kind === "map" ? 2 * size : size;
      if (left > frame.length - at) throw new BadFrame("claims more than follows");
      levels.push({ left, keys: kind === "map" ? new Set() : undefined });
    } else {
      const bytes = frame.subarray(take(size), at);
      if (kind === "str") {
        let text;
        try {
          text = utf8.decode(bytes);
        } catch {
          throw new BadFrame("a str that is not UTF-8");
        }
        if (isKey && level.keys.has(text)) throw new BadFrame(`key '${text}' comes twice`);
        if (isKey) level.keys.add(text);
      }
    }
    while (levels.length && levels.at(-1).left === 0) levels.pop();
  } while (levels.length);
  if (at !== frame.length) throw new BadFrame("bytes behind the end");
}

// The message as an object; its fields are not checked (see spec.mjs).
export function decode(frame) {
  guard(frame);
  let message;
  try {
    message = unpack(frame);
  } catch (e) {
    throw new BadFrame(e.message);
  }
  if (message?.constructor !== Object) throw new BadFrame("not a map");
  if (!Number.isInteger(message.v) || message.v < 0) throw new BadFrame("v is missing or no integer");
  if (message.v !== VERSION) throw new BadVersion(`protocol version ${message.v}`);
  if (typeof message.t !== "string") throw new BadFrame("t is missing or not str");
  const r = message.r ?? 0;
  if (!Number.isSafeInteger(r) || r < 0) throw new BadFrame("r is no request number");
  return message;
}

export const hex32 = () => randomBytes(16).toString("hex");

const endpoint = (host, port) => `tcp://${host.includes(":") ? `[${host}]` : host}:${port}`;

// A DEALER to the work port: what runners and clients share.
export class Work {
  constructor(host, port) {
    this.socket = new zmq.Dealer({ linger: 1000, ipv6: true });
    this.socket.connect(endpoint(host, port + 1));
  }

  send(type, fields, r) {
    return this.socket.send(encode(type, r, fields));
  }

  // The next message, or undefined.
  async receive(timeoutMs) {
    this.socket.receiveTimeout = Math.max(0, timeoutMs);
    try {
      const [frame] = await this.socket.receive();
      return decode(frame);
    } catch (e) {
      if (e.code === "EAGAIN") return undefined;
      throw e;
    }
  }

  close() {
    this.socket.close();
  }
}

// Queries and commands.  ask() repeats an unanswered question: each is idempotent.
export class Client extends Work {
  #r = 0;

  async ask(type, fields, timeoutMs = 10000) {
    const r = ++this.#r;
    const end = Date.now() + timeoutMs;
    while (Date.now() < end) {
      await this.send(type, fields, r);
      const again = Math.min(end, Date.now() + 2000);
      while (Date.now() < again) {
        const answer = await this.receive(again - Date.now());
        if (answer?.r !== r) continue;
        if (answer.t === "err") throw new Refused(answer);
        return answer;
      }
    }
    throw new Error(`no answer to ${type} within ${timeoutMs} ms`);
  }
}

// Published messages: next(timeoutMs) gives [topic, message], or undefined.
export class Subscriber {
  constructor(host, port, ...topics) {
    this.socket = new zmq.Subscriber({ receiveHighWaterMark: 100000, ipv6: true });
    this.socket.subscribe(...topics);
    this.socket.connect(endpoint(host, port + 2));
  }

  async next(timeoutMs) {
    this.socket.receiveTimeout = Math.max(0, timeoutMs);
    try {
      const [topic, payload] = await this.socket.receive();
      return [topic.toString(), decode(payload)];
    } catch (e) {
      if (e.code === "EAGAIN") return undefined;
      throw e;
    }
  }

  close() {
    this.socket.close();
  }
}
