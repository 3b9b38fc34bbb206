#include "exec/seal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"

#define CHUNK_BYTES (256 << 10)

static void put_u32(unsigned char *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(v >> 8 * i);
}

void seal_make(const unsigned char digest[SEAL_DIGEST], unsigned char ret[SEAL_SIZE])
{
    put_u32(ret, SEAL_MAGIC);
    put_u32(ret + 4, SEAL_DIGEST);
    memcpy(ret + 8, digest, SEAL_DIGEST);
}

static volt_code fail(volt_err *err, const char *name)
{
    return volt_fail(err, VOLT_EIO, "read '%s': %s", name, strerror(errno));
}

static volt_code digest_of(int fd, off_t size, const char *name, unsigned char ret[SEAL_DIGEST],
                           volt_err *err)
{
    CLEANUP(free)
    unsigned char *chunk = mem_zero(CHUNK_BYTES);
    crypto_generichash_state state;
    off_t at = 0;

    crypto_generichash_init(&state, NULL, 0, SEAL_DIGEST);
    while (at < size) {
        size_t want = size - at < CHUNK_BYTES ? (size_t)(size - at) : CHUNK_BYTES;
        ssize_t n = pread(fd, chunk, want, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, name);
        if (n == 0)
            return volt_fail(err, VOLT_ECORRUPT, "'%s' became shorter while it was read", name);
        crypto_generichash_update(&state, chunk, (size_t)n);
        at += n;
    }
    crypto_generichash_final(&state, ret, SEAL_DIGEST);
    return VOLT_OK;
}

volt_code seal_check(int fd, const char *name, volt_err *err)
{
    unsigned char digest[SEAL_DIGEST], want[SEAL_SIZE], got[SEAL_SIZE];
    struct stat st;
    volt_code code;

    if (fstat(fd, &st) < 0)
        return fail(err, name);
    if (!S_ISREG(st.st_mode) || st.st_size < SEAL_SIZE)
        return volt_fail(err, VOLT_ECORRUPT, "'%s' is no archive of Volt's", name);
    if (pread(fd, got, SEAL_SIZE, st.st_size - SEAL_SIZE) != SEAL_SIZE)
        return fail(err, name);
    code = digest_of(fd, st.st_size - SEAL_SIZE, name, digest, err);
    if (code)
        return code;
    seal_make(digest, want);
    if (memcmp(got, want, SEAL_SIZE) != 0)
        return volt_fail(err, VOLT_ECORRUPT, "'%s' is damaged: its digest does not fit", name);
    return VOLT_OK;
}
