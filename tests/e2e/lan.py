"""Several hosts on one machine, and the network between them, which does what it is told.

A host is a network namespace with a TUN device.  What it sends comes out in a process of its own
(this file as a program), which carries each packet to the host it is addressed to: late, twice, out
of order or not at all.  So no netem and no packet filter is asked of the kernel, and an ordinary
user can do it in a user namespace.  One seed decides what becomes of the n-th packet of a link.

    isolate() once, then Lan(seed), lan.host(name), and `with host:` around the start of a process.
"""
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
TUNSETIFF, IFF_TUN, IFF_NO_PI, IFF_UP = 0x400454CA, 1, 0x1000, 1
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8922, 0x8914
DEVICE = b"lan"
MTU = 9000  # fewer packets for the same bytes
NETWORK = (10, 77, 0)
READ_MAX = 32  # packets of a host before the others get their turn
QUEUE_S = 1.0  # what a slow link holds; more is dropped
TCP, RST_ACK = 6, 0x14

libc = ctypes.CDLL(None, use_errno=True)


def check(rc, what):
    if rc < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def isolate():
    """Gives this process mounts of its own, and to an ordinary user a network to come back to, too,
    and capabilities over both.  OSError: the machine does not allow it, or has no TUN devices."""
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER | CLONE_NEWNET if uid else 0)), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
        request(SIOCSIFFLAGS, b"lo", struct.pack("H", IFF_UP))
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    os.close(os.open("/dev/net/tun", os.O_RDWR))


def mount_tmpfs(path, size):
    check(libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"size=%d" % size), "mount a tmpfs")


def resize_tmpfs(path, size):
    check(libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 32, b"size=%d" % size), "resize a tmpfs")


def unmount(path):
    check(libc.umount2(os.fsencode(path), 2), "unmount")


def request(code, name, content):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, code, struct.pack("16s24s", name, content))


class Host:
    """Processes that are started inside `with host:` live on it."""

    def __init__(self, number):
        self.number = number
        self.address = ".".join(map(str, (*NETWORK, number)))
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        check(libc.unshare(CLONE_NEWNET), "make a network namespace")
        try:
            self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tun, TUNSETIFF,
                        struct.pack("16sH22x", DEVICE, IFF_TUN | IFF_NO_PI))
            request(SIOCSIFFLAGS, b"lo", struct.pack("H", IFF_UP))
            inet = struct.pack("HH4s", socket.AF_INET, 0, bytes((*NETWORK, number)))
            request(SIOCSIFADDR, DEVICE, inet)
            request(SIOCSIFNETMASK, DEVICE, struct.pack("HH4B", socket.AF_INET, 0, 255, 255, 255, 0))
            request(SIOCSIFMTU, DEVICE, struct.pack("i", MTU))
            self.plug(True)
        finally:
            self.__exit__()

    def plug(self, there):
        """The device is up, or it is as if somebody had pulled the cable out."""
        request(SIOCSIFFLAGS, DEVICE, struct.pack("H", IFF_UP if there else 0))

    def __enter__(self):
        check(libc.setns(self.namespace, CLONE_NEWNET), "enter a network namespace")
        return self

    def __exit__(self, *_):
        check(libc.setns(self.home, CLONE_NEWNET), "leave a network namespace")

    def close(self):
        for fd in (self.tun, self.namespace, self.home):
            os.close(fd)


class Lan:
    """All hosts are made first; start() begins to carry packets."""

    def __init__(self):
        self.hosts, self.carrier = {}, None

    def host(self, name):
        self.hosts[name] = Host(len(self.hosts) + 1)
        return self.hosts[name]

    def start(self, seed, stderr=None):
        tuns = [h.tun for h in self.hosts.values()]
        self.carrier = subprocess.Popen([sys.executable, "-B", __file__, str(seed), *map(str, tuns)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                        pass_fds=tuns)

    def link(self, name, way="both", **how):
        """From now on the host's link is so: delay and jitter in seconds, rate in bytes a second,
        loss, duplicate and reorder as probabilities, cut, reset.  What is not named is well."""
        line = json.dumps({"host": self.hosts[name].number, "way": way, **how})
        self.carrier.stdin.write(line.encode() + b"\n")
        self.carrier.stdin.flush()

    def close(self):
        """What became of the packets."""
        counts = {}
        if self.carrier:
            counts = json.loads(self.carrier.communicate()[0] or b"{}")
        for h in self.hosts.values():
            h.close()
        return counts


# ---- the carrier ----

class Way:
    """One direction of a host's link."""
    WELL = {"delay": 0, "jitter": 0, "rate": 0, "loss": 0, "duplicate": 0, "reorder": 0,
            "cut": False, "reset": False}

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.idle_at = self.last_at = 0
        self.set({})

    def set(self, how):
        self.__dict__.update({**self.WELL, **how})
        self.well = not any(how.values())

    def drops(self):
        return self.cut or (self.loss and self.rng.random() < self.loss)

    def pass_at(self, now, size):
        """When a packet that comes now is through; None: the link holds no more."""
        if self.well and self.last_at <= now:
            return now
        at = now
        if self.rate:
            if self.idle_at > now + QUEUE_S:
                return None
            self.idle_at = at = max(self.idle_at, now) + size / self.rate
        if self.reorder and self.rng.random() < self.reorder:
            return at
        self.last_at = max(self.last_at, at + self.delay + self.rng.uniform(0, self.jitter))
        return self.last_at


def checksum(content):
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reset_for(packet):
    """The answer that ends the TCP connection a packet belongs to, as from a firewall that has
    forgotten it; None: it is not of one, or the connection only begins."""
    begin = (packet[0] & 15) * 4
    if packet[9] != TCP or len(packet) < begin + 20 or packet[begin + 13] & 0x17 != 0x10:
        return None
    source, target = packet[12:16], packet[16:20]
    from_port, to_port, _, acked = struct.unpack_from("!HHII", packet, begin)
    tcp = struct.pack("!HHIIBBHHH", to_port, from_port, acked, 0, 5 << 4, 0x04, 0, 0, 0)
    total = checksum(target + source + struct.pack("!HH", TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, TCP, 0, target, source)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


class Carrier:
    def __init__(self, seed, tuns):
        self.tuns = {n: fd for n, fd in enumerate(tuns, 1)}
        self.up = {n: Way(f"{seed} up {n}") for n in self.tuns}
        self.down = {n: Way(f"{seed} down {n}") for n in self.tuns}
        self.under_way, self.n = [], 0
        self.counts = dict.fromkeys(("carried", "dropped", "doubled", "reset"), 0)

    def told(self, line):
        how = json.loads(line)
        number, way = how.pop("host"), how.pop("way")
        for name, ways in (("up", self.up), ("down", self.down)):
            if way in (name, "both"):
                ways[number].set(how)

    def write(self, number, packet):
        try:
            os.write(self.tuns[number], packet)
            self.counts["carried"] += 1
        except OSError:  # the cable is out, or the device's queue is full
            self.counts["dropped"] += 1

    def take(self, number, packet, now):
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[19] not in self.tuns:
            return
        up, down = self.up[number], self.down[packet[19]]
        if up.reset or down.reset:
            answer = reset_for(packet)
            if answer:
                self.counts["reset"] += 1
                self.write(number, answer)
            return
        if up.drops() or down.drops():
            self.counts["dropped"] += 1
            return
        at = up.pass_at(now, len(packet))
        at = at if at is None else down.pass_at(at, len(packet))
        if at is None:
            self.counts["dropped"] += 1
            return
        if at <= now:
            self.write(packet[19], packet)
            return
        twice = any(w.duplicate and w.rng.random() < w.duplicate for w in (up, down))
        self.counts["doubled"] += twice
        for _ in range(1 + twice):
            self.n += 1
            heapq.heappush(self.under_way, (at, self.n, packet[19], packet))

    def read(self, number, now):
        for _ in range(READ_MAX):
            try:
                self.take(number, os.read(self.tuns[number], MTU), now)
            except OSError:  # no more
                return

    def run(self, control):
        poll, number_of = select.poll(), {fd: n for n, fd in self.tuns.items()}
        for fd in (control, *number_of):
            poll.register(fd, select.POLLIN)
        rest = b""
        while True:
            now = time.monotonic()
            while self.under_way and self.under_way[0][0] <= now:
                _, _, number, packet = heapq.heappop(self.under_way)
                self.write(number, packet)
            wait = max(0, self.under_way[0][0] - now) * 1000 + 0.5 if self.under_way else None
            for fd, _ in poll.poll(wait):
                if fd != control:
                    self.read(number_of[fd], time.monotonic())
                    continue
                new = os.read(control, 65536)
                if not new:
                    return
                *lines, rest = (rest + new).split(b"\n")
                for line in lines:
                    self.told(line)


def main():
    carrier = Carrier(sys.argv[1], map(int, sys.argv[2:]))
    carrier.run(0)
    print(json.dumps(carrier.counts))


if __name__ == "__main__":
    main()
