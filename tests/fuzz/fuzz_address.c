/* Any text as an address: refused with a sentence, or split into a host and a port that give the
 * same address again. Never asks a name server. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static void check_refusal(int rc, const struct embar_diag *diag, const char *host, const char *port)
{
    check(rc == -EINVAL && diag->error == EINVAL && diag->text[0] != '\0');
    check(strlen(diag->text) < sizeof(diag->text));
    /* Outputs are written on success only. */
    check(strcmp(host, "untouched") == 0 && strcmp(port, "untouched") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[64] = "untouched", port[16] = "untouched", again[96];
    struct embar_diag diag = {0};
    char *address = malloc(size + 1);

    check(address != NULL);
    memcpy(address, data, size);
    address[size] = '\0';
    int rc = address_split(address, host, sizeof(host), port, sizeof(port), &diag);
    if (rc != 0) {
        check_refusal(rc, &diag, host, port);
    } else {
        check(strspn(port, "0123456789") == strlen(port) && port[0] != '\0');
        check(strtoul(port, NULL, 10) <= 65535);
        snprintf(again, sizeof(again), address[0] == '[' ? "[%s]:%s" : "%s:%s", host, port);
        check(strcmp(again, address) == 0);
        check(diag.error == 0);
    }
    free(address);
    return 0;
}
