// A round against a running dispatcher that has no other runner.
// Usage: node live_round.mjs PROTO_DIRECTORY HOST PORT
//
// As client submits a commit, as runner (one that runs nothing) plans it, reports its tests and sends
// its logs, as subscriber follows it all, and asks about it.  Every message that comes is checked by
// the tables of the specification.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Client, Refused, Subscriber, Work, decode, hex32 } from "./volt_client.mjs";
import { Spec } from "./spec.mjs";

const LIMIT_MS = 60000; // guards against a hang
const FILES = ["tests/test_one.py", "tests/test_two.py", "tests/check.sh"];
const SHORT = Buffer.from("one short log\n");
const LONG = Buffer.alloc(90000, "a line of output…\n"); // longer than a result carries

const [proto, host, port] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const spec = new Spec(join(proto, "README.md"));

function need(ok, what) {
  if (!ok) throw new Error(what);
}

// Its fields; a number, list or text that is absent is 0 or empty, as the specification says.
function checked(message) {
  const empty = { integer: 0, boolean: false, text: "", bytes: Buffer.alloc(0) };
  const ret = { t: message.t, r: message.r ?? 0 };
  for (const f of spec.messages[message.t]) ret[f.key] = f.kind.startsWith("list") ? [] : empty[f.kind] ?? "";
  return Object.assign(ret, spec.check(message));
}

// Takes what it is assigned and claims to have run it.
class Runner {
  constructor() {
    this.work = new Work(host, port);
    this.id = hex32();
    this.boot = hex32();
    this.held = new Map(); // "task/att": {task, att, state, assign, log}
    this.done = [];
    this.n = 0;
    this.loop = this.#run();
  }

  say(type, attempt, fields = {}) {
    return this.work.send(type, { task: attempt.task, att: attempt.att, ...fields });
  }

  list() {
    return [...this.held.values()].map(({ task, att, state }) => ({ task, att, state }));
  }

  hello() {
    const fields = { vmin: 1, vmax: 1, id: this.id, name: "node", boot: this.boot, slots: 2 };
    return this.work.send("hello", { ...fields, held: this.list() });
  }

  async beat() {
    await this.work.send("hb", { n: ++this.n, held: this.list() });
    for (const attempt of this.held.values()) if (attempt.state === "done") await this.result(attempt);
  }

  async #run() {
    await this.hello();
    for await (const [frame] of this.work.socket) {
      const message = checked(decode(frame));
      need(typeof this[message.t] === "function", `a runner gets no '${message.t}'`);
      await this[message.t](message);
    }
  }

  stop() {
    clearInterval(this.timer);
    this.work.close();
  }

  find(m) {
    return this.held.get(`${m.task}/${m.att}`);
  }

  who() {
    return this.hello();
  }

  welcome(m) {
    need(m.ver === 1 && m.suspect_ms > m.hb_ms, "the times of welcome");
    this.window = m.window;
    this.ep = m.ep;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.beat(), m.hb_ms);
  }

  hb_ok(m) {
    need(m.n <= this.n && m.ep === this.ep, "hb_ok");
    for (const gone of m.drop) this.held.delete(`${gone.task}/${gone.att}`);
  }

  async assign(m) {
    if (this.find(m)) return;
    const log = m.kind === "script" ? LONG : SHORT;
    const attempt = { task: m.task, att: m.att, state: "running", assign: m, log };
    this.held.set(`${m.task}/${m.att}`, attempt);
    await this.say("start", attempt);
    if (m.kind === "plan") {
      const jobs = [{ name: "tests", tests: true, files: FILES, batch: 2 },
        { name: "then", needs: ["tests"], spec: Buffer.from([0, 255]) }];
      await this.say("plan", attempt, { last: true, jobs });
    } else if (m.kind === "tests") {
      need(m.files.length > 0 && m.files.every((f) => FILES.includes(f)), "the files of a batch");
      const items = m.files.map((_, i) => ({ verdict: "passed", duration_ms: 3, log_off: i, log_len: 1 }));
      await this.say("tests", attempt, { items });
    } else {
      need(Buffer.from([0, 255]).equals(m.spec), "the spec comes back as it was");
      await this.stream(attempt, 0, this.window);
    }
  }

  async plan_ok(m) {
    const attempt = this.find(m);
    if (attempt && m.next === 1) await this.result(attempt);
  }

  async tests_ok(m) {
    const attempt = this.find(m);
    if (attempt && m.next === attempt.assign.files.length) await this.result(attempt);
  }

  async stream(attempt, off, window) {
    const end = Math.min(off + window, attempt.log.length);
    while (off < end) {
      const d = attempt.log.subarray(off, Math.min(off + 40000, end));
      await this.say("log", attempt, { off: off || undefined, d, eof: off + d.length === attempt.log.length });
      off += d.length;
    }
  }

  async log_ok(m) {
    const attempt = this.find(m);
    if (attempt?.log === LONG && m.off === LONG.length) await this.result(attempt);
  }

  async result(attempt) {
    attempt.state = "done";
    const { log } = attempt;
    await this.say("result", attempt, {
      ep: this.ep, verdict: "passed", log_bytes: log.length, log: log === SHORT ? log : undefined,
    });
  }

  result_ok(m) {
    if (this.find(m)) this.done.push(this.find(m).assign.kind);
    this.held.delete(`${m.task}/${m.att}`);
  }

  fenced() {
    this.wasFenced = true;
  }
}

class Follower {
  constructor() {
    this.live = new Subscriber(host, port, "e.", "h.", "l.");
    this.events = new Map();
    this.logs = [];
    this.loop = this.#run();
  }

  async #run() {
    for await (const [topicBytes, frame] of this.live.socket) {
      const message = checked(decode(frame));
      const topic = topicBytes.toString();
      const want = { event: `e.${message.kind}.`, head: "h.", log: `l.${message.build}.` }[message.t];
      need(topic === want, `topic ${topic}`);
      if (message.t === "event") this.events.set(message.seq, message);
      else if (message.t === "head") this.head = message;
      else this.logs.push(message.d);
    }
  }
}

let failure; // of a loop that runs beside
async function wait(what, ready) {
  for (const end = Date.now() + LIMIT_MS; !ready(); ) {
    if (failure) throw failure;
    need(Date.now() < end, `no ${what} within ${LIMIT_MS} ms`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function replay(client, hist) {
  const events = [];
  for (let from = 1; ; ) {
    const page = checked(await client.ask("replay", { hist, from }));
    events.push(...page.items.map((item) => checked(decode(Buffer.from(item)))));
    from = page.next;
    if (page.next > page.last) return events;
  }
}

async function readLog(client, task) {
  const pieces = [];
  for (let off = 0; ; ) {
    const chunk = checked(await client.ask("get", { task, off, max: 20000 }));
    need(chunk.off === off, "a chunk is what was asked for");
    pieces.push(chunk.d);
    off += chunk.d.length;
    if (chunk.eof) return Buffer.concat(pieces);
  }
}

async function checkAnswers(client, build) {
  const row = checked(await client.ask("build", { build }));
  need(row.rows[0].verdict === "passed", "the build passed");
  need(row.jobs.length === 2 && row.jobs.every((j) => j.verdict === "passed"), "its jobs passed");
  const units = checked(await client.ask("units", { build })).rows.filter((u) => u.job === "tests");
  need(units.map((u) => u.file).join() === FILES.join(), "the units are the files");
  for (const task of row.tasks) {
    const log = await readLog(client, task.task);
    need(log.equals(task.kind === "script" ? LONG : SHORT), `log of task ${task.task}`);
  }
  try {
    await client.ask("build", { build: Number.MAX_SAFE_INTEGER });
    need(false, "there is no such build");
  } catch (e) {
    need(e instanceof Refused && e.code === "NOT_FOUND", e.message);
  }
}

async function main() {
  const client = new Client(host, port);
  const follower = new Follower();
  follower.loop.catch((e) => (failure = e));
  await wait("head", () => follower.head);
  need(checked(await client.ask("status")).hist === follower.head.hist, "status");

  const submit = { sid: hex32(), repo: "live-node", url: "https://example.invalid/live-node.git",
    oid: randomBytes(20).toString("hex"), ref: "refs/heads/main", subject: "ünï" };
  const { build } = checked(await client.ask("submit", submit));
  const again = checked(await client.ask("submit", submit));
  need(again.build === build && again.dup, "the duplicate");

  const runner = new Runner();
  runner.loop.catch((e) => (failure = e));
  const ended = () => [...follower.events.values()].some((e) => e.kind === "build_done" && e.build === build);
  await wait("build_done", () => ended() && runner.held.size === 0);
  need(runner.done.filter((kind) => kind === "script").length === 1, "the script ran once");
  need(Buffer.concat(follower.logs).includes(LONG), "the live log");
  await checkAnswers(client, build);

  const history = await replay(client, follower.head.hist);
  need(history.every((e, i) => e.seq === history[0].seq + i), "no gaps");
  for (const e of history)
    if (follower.events.has(e.seq))
      need(JSON.stringify(follower.events.get(e.seq)) === JSON.stringify(e), `event ${e.seq} is kept as published`);

  await runner.say("result", { task: 1e9, att: 1 }, { verdict: "passed" }); // not ours
  await wait("fenced", () => runner.wasFenced);
  await runner.work.send("bye", {});
  console.log(`build ${build}: ${follower.events.size} events, ${runner.done.length} tasks, all as specified`);
  runner.stop();
  follower.live.close();
  client.close();
}

await main().catch((e) => {
  console.error(`live_round: ${e.stack}`);
  process.exit(1);
});
process.exit(0); // sockets that are closed may still linger
