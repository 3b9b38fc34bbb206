"""Free ports below those that the kernel gives to connections: one of these might hold a port, or meet itself there,
while nobody listens at it."""
import random
import socket

LOWEST, END = 10240, 32768  # what Linux gives begins there
TRIES = 500


def free_triple():
    """The first of three in a row, as a dispatcher has them."""
    for _ in range(TRIES):
        first, probes = random.randrange(LOWEST, END - 2), []
        try:
            for port in range(first, first + 3):
                probes.append(socket.socket())
                probes[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            pass
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no free ports")
