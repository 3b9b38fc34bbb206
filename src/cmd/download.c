#include "cmd/download.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define PIECE_BYTES 131072

volt_code download_list(client *c, uint64_t build, slices jobs, rec_artifact_row **ret,
                        size_t *ret_n, char hist[33], volt_err *err)
{
    rec_artifact_row *v = NULL;
    size_t n = 0;
    bool more = true;

    while (more) {
        const msg question = { .type = MSG_artifacts,
                               .artifacts = { .build = build, .jobs = jobs, .from = n } };
        const msg *answer;
        const rec_artifact_row_list *rows;
        volt_code code = client_ask(c, &question, MSG_artifacts_are, &answer, err);

        if (code) {
            free(v);
            return code;
        }
        client_keep(c);
        rows = &answer->artifacts_are.rows;
        snprintf(hist, 33, SLICE_FMT, SLICE_ARG(answer->artifacts_are.hist));
        if (rows->n) {
            v = mem_grow(v, n + rows->n, sizeof *v);
            memcpy(v + n, rows->v, rows->n * sizeof *v);
            n += rows->n;
        }
        more = answer->artifacts_are.more && rows->n;
    }
    *ret = v;
    *ret_n = n;
    return VOLT_OK;
}

static volt_code fail_errno(volt_err *err, const char *what)
{
    return volt_fail(err, errno == ENOSPC || errno == EDQUOT ? VOLT_EFULL : VOLT_EIO, "%s: %s",
                     what, strerror(errno));
}

static volt_code fail_gone(const rec_artifact_row *row, volt_err *err)
{
    return volt_fail(err, VOLT_ENOTFOUND,
                     "the artifacts of job '" SLICE_FMT "' of build %" PRIu64
                     " are no longer kept by the dispatcher",
                     SLICE_ARG(row->job), row->build);
}

static volt_code write_at(int fd, slice bytes, uint64_t off, volt_err *err)
{
    while (bytes.n) {
        ssize_t n = pwrite(fd, bytes.p, bytes.n, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "write the artifacts");
        bytes.p += n;
        bytes.n -= (size_t)n;
        off += (uint64_t)n;
    }
    return VOLT_OK;
}

volt_code download(client *c, const rec_artifact_row *row, int fd, volt_err *err)
{
    struct stat st;
    uint64_t off;

    if (!row->task)
        return fail_gone(row, err);
    if (fstat(fd, &st) < 0)
        return fail_errno(err, "look at what came of the artifacts");
    off = (uint64_t)st.st_size;
    if (off > row->bytes && ftruncate(fd, 0) < 0)
        return fail_errno(err, "begin the artifacts anew");
    off = off > row->bytes ? 0 : off;
    while (off < row->bytes) {
        const msg question = { .type = MSG_get,
                               .get = { .task = row->task,
                                        .att = row->att,
                                        .off = off,
                                        .max = PIECE_BYTES,
                                        .part = PART_ARTIFACTS } };
        const msg *answer;
        volt_code code = client_ask(c, &question, MSG_chunk, &answer, err);

        if (code == VOLT_ENOTFOUND || (!code && !answer->chunk.d.n))
            return fail_gone(row, err);
        if (!code)
            code = write_at(fd, answer->chunk.d, off, err);
        if (code)
            return code;
        off += answer->chunk.d.n;
    }
    return VOLT_OK;
}
