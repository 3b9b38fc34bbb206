#include "cmd/dispatcher/secret.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

void secret_random(char ret[33])
{
    unsigned char random[16];

    randombytes_buf(random, sizeof random);
    sodium_bin2hex(ret, 33, random, sizeof random);
}

static_assert(crypto_generichash_BYTES_MIN <= 16 && crypto_generichash_KEYBYTES_MIN <= 32 &&
                  crypto_generichash_KEYBYTES_MAX >= 32,
              "16 bytes of a hash with the secret's 32 digits as its key");

void secret_prove(const char *secret, const char *about, char ret[33])
{
    unsigned char hash[16];

    crypto_generichash(hash, sizeof hash, (const unsigned char *)about, strlen(about),
                       (const unsigned char *)secret, 32);
    sodium_bin2hex(ret, 33, hash, sizeof hash);
}
