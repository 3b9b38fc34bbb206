/*
 * bench_probe - a test that tells when it started.
 *
 * Sends "WORD NANOSECONDS" (CLOCK_MONOTONIC at its first line) as one datagram to the socket whose
 * path is the first line of the file `socket` in its directory.  WORD is `start`, or the first
 * argument: as a reference-transaction hook of git it tells when a ref was `committed`.
 * Linked statically, so that it starts at once.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

int main(int argc, char **argv)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct timespec t;
    char text[64];
    FILE *f;
    int fd, n;

    clock_gettime(CLOCK_MONOTONIC, &t);
    if (argc > 1 && strcmp(argv[1], "committed") != 0)
        return 0; /* the hook's other calls: prepared, aborted */
    f = fopen("socket", "r");
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (!f || fd < 0 || !fgets(at.sun_path, sizeof at.sun_path, f))
        return 1;
    at.sun_path[strcspn(at.sun_path, "\n")] = '\0';
    n = snprintf(text, sizeof text, "%s %lld", argc > 1 ? argv[1] : "start",
                 t.tv_sec * 1000000000LL + t.tv_nsec);
    /* Nobody listens: an earlier commit is tested again, which is not measured. */
    sendto(fd, text, (size_t)n, 0, (const struct sockaddr *)&at, sizeof at);
    return 0;
}
