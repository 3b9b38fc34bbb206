/*
 * channel.h - frames between the agent and an executor, over a local stream socket.
 *
 * An executor listens at DIR/NAME and outlives the agent; whoever is agent connects, and the newest
 * connection counts.  A frame is a 4-byte little-endian length and that many bytes; what is in them
 * is the caller's affair (VOLT/1 messages).  Nothing here blocks: wait for channel_fd() to be
 * readable, and writable while channel_pending() is not 0.
 *
 * Memory: one buffer each way, bounded below.  Threads: one owner.
 */
#ifndef VOLT_EXEC_CHANNEL_H
#define VOLT_EXEC_CHANNEL_H

#include <stddef.h>

#include "base/err.h"
#include "base/slice.h"

#define CHANNEL_FRAME_MAX ((size_t)1 << 20) /* bytes of one frame */
/* Bytes that wait for a peer that does not read.  What an executor says is in its spool as well, so
 * it closes the connection then, and the agent that connects next reads the spool. */
#define CHANNEL_PENDING_MAX ((size_t)8 << 20)

typedef struct channel channel;

/* A listening socket at DIR/NAME, mode 0600, close-on-exec, non-blocking; *ret is the caller's to
 * close.  The path may be longer than a socket address holds.  A socket file that nobody listens at
 * is replaced; it stays behind when the listener ends.
 * VOLT_EEXISTS: somebody listens there.  VOLT_EINVALID: NAME is longer than 64 bytes.  VOLT_EIO. */
volt_code channel_listen(const char *dir, const char *name, int *ret, volt_err *err);

/* Takes a waiting connection.  VOLT_EAGAIN: there is none.  VOLT_EIO: out of descriptors. */
volt_code channel_accept(int listener, channel **ret, volt_err *err);

/* Connects to DIR/NAME.  VOLT_ENOTFOUND: no socket there, or nobody listens.
 * VOLT_EAGAIN: more connect at once than are taken; try again.  VOLT_EINVALID, VOLT_EIO. */
volt_code channel_connect(const char *dir, const char *name, channel **ret, volt_err *err);

/* Drops what was not sent. */
void channel_free(channel *c);

int channel_fd(const channel *c);

/* Queues a frame (frame.n <= CHANNEL_FRAME_MAX) and sends as much as goes at once.  That the peer
 * is gone shows at channel_recv().  VOLT_EFULL: CHANNEL_PENDING_MAX bytes wait; nothing is queued.
 */
volt_code channel_send(channel *c, slice frame, volt_err *err);

/* The same, but sends only once 16 KiB wait or channel_flush() is called, so that what
 * is said in one go arrives in one go: a reader that wakes for each frame costs more than they do.
 */
volt_code channel_put(channel *c, slice frame, volt_err *err);

/* Sends more of what waits. */
void channel_flush(channel *c);

/* Bytes queued and not sent: poll for writability when not 0. */
size_t channel_pending(const channel *c);

/* The next frame; *ret stands until the next channel_recv() or channel_free().  Call until it
 * answers VOLT_EAGAIN: nothing whole is there.  VOLT_EUNREACHABLE: the peer closed or is gone.
 * VOLT_EMSG: a longer frame than CHANNEL_FRAME_MAX, or the end within one. */
volt_code channel_recv(channel *c, slice *ret, volt_err *err);

#endif
