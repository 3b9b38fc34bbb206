// Every conformance message of proto/vectors/ is taken or refused as it says.
// Usage: node test_vectors.mjs PROTO_DIRECTORY
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { BadFrame, BadVersion, decode, encode } from "./volt_client.mjs";
import { Bad, Spec } from "./spec.mjs";

const proto = process.argv[2];
const spec = new Spec(join(proto, "README.md"));

// As the vectors write values: bytes as {"hex": ...}.
function plain(value) {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (value?.constructor === Object)
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
}

// {wrong: the rule that is broken, or undefined, where, message, fields}
function read(frame) {
  try {
    const message = decode(frame);
    if (!Object.hasOwn(spec.messages, message.t)) return { wrong: "envelope" };
    return { message, fields: spec.check(message) };
  } catch (e) {
    if (e instanceof BadVersion) return { wrong: "version" };
    if (e instanceof BadFrame) return { wrong: "frame" };
    if (e instanceof Bad) return { wrong: "field", where: e.message };
    throw e;
  }
}

function check(vector) {
  const { wrong, where, message, fields } = read(Buffer.from(vector.hex, "hex"));
  if (!vector.valid) {
    if (vector.rule === "float") return undefined; // 1.0 and 1 are the same here
    const want = vector.rule === "envelope" ? ["frame", "envelope"] : [vector.rule];
    if (!want.includes(wrong)) return `is ${wrong ?? "taken"}, not ${vector.rule}`;
    if (vector.key && !where.includes(vector.key)) return `'${where}' does not name ${vector.key}`;
    return undefined;
  }
  if (wrong) return `is refused: ${wrong} ${where}`;
  const got = { type: message.t, r: message.r ?? 0, fields: plain(fields) };
  const { type, r } = vector;
  if (!isDeepStrictEqual(got, { type, r, fields: vector.fields })) return `reads as ${JSON.stringify(got)}`;
  const again = decode(encode(message.t, message.r, fields));
  if (!isDeepStrictEqual(plain(spec.check(again)), vector.fields)) return "changes when it is encoded again";
  return undefined;
}

const lines = readFileSync(join(proto, "vectors", "vectors.jsonl"), "utf8").trim().split("\n");
const taken = new Set();
let failed = 0;
for (const vector of lines.map((line) => JSON.parse(line))) {
  const complaint = check(vector);
  if (vector.valid) taken.add(vector.type);
  if (complaint) {
    failed++;
    console.log(`${vector.name}: ${complaint}`);
  }
}
for (const type of Object.keys(spec.messages))
  if (!taken.has(type)) {
    failed++;
    console.log(`no vector of type ${type}: run scripts/protodoc`);
  }
console.log(`${lines.length} vectors, ${failed} complaints`);
process.exitCode = failed ? 1 : 0;
