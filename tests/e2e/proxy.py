"""A network that can be made to hang, or be cut, without any rights: a proxy on the loopback."""
import socket
import threading

from ports import free_triple

PIECE = 65536


class Proxy:
    """Three ports of its own before those of a dispatcher."""

    def __init__(self, port):
        self.to_port, self.port = port, free_triple()
        self.flows = threading.Event()
        self.lock = threading.Lock()
        self.open, self.listeners, self.threads = [], [], []
        self.heal()

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    def hang(self):
        """Nothing comes through, and nobody is told."""
        self.flows.clear()

    def cut(self):
        """All connections end, and there are no new ones."""
        with self.lock:
            ended, self.open, self.listeners = self.open + self.listeners, [], []
        for s in ended:
            self._end(s)

    def heal(self):
        self.flows.set()
        if not self.listeners:
            for offset in range(3):
                s = socket.create_server(("127.0.0.1", self.port + offset))
                self.listeners.append(s)
                self._start(self._accept, s, self.to_port + offset)

    def close(self):
        self.cut()
        self.flows.set()
        for t in self.threads:
            t.join()

    @staticmethod
    def _end(s):
        try:
            s.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        except OSError:
            pass  # it was never connected, or has ended
        s.close()

    def _start(self, what, *args):
        t = threading.Thread(target=what, args=args)
        self.threads.append(t)
        t.start()

    def _accept(self, listener, port):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:  # nobody listens there now
                near.close()
                continue
            with self.lock:
                there = listener in self.listeners
                self.open += [near, far]
            if not there:  # cut meanwhile
                self._end(near)
                self._end(far)
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source, to):
        try:
            while True:
                data = source.recv(PIECE)
                self.flows.wait()
                if not data:
                    break
                to.sendall(data)
        except OSError:
            pass  # the other direction, or a cut, ended it
        self._end(source)
        self._end(to)
