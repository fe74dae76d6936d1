/*
 * A user of an installed Embar in C11: opens a transport, moves bytes through both levels' simplest
 * calls and prints the library's version. Exits 0 when each answered as its header says.
 */
#include <stdio.h>

#include <embar/embar.h>
#include <embar/transport.h>

static int check_transport(struct embar_diag *diag)
{
    struct embar_transport *transport = NULL;
    struct embar_listener *listener = NULL;
    int rc = embar_transport_open("tcp", NULL, &transport, diag);
    if (rc < 0)
        return rc;
    rc = embar_listen(transport, "127.0.0.1:0", &listener, diag);
    if (rc == 0) {
        printf("listening on %s\n", embar_listener_address(listener));
        rc = embar_listener_close(listener);
    }
    int closed = embar_transport_close(transport);
    return rc < 0 ? rc : closed;
}

static int check_config(struct embar_diag *diag)
{
    struct embar_config *config = NULL;
    int rc = embar_config_create(&config, diag);
    if (rc < 0)
        return rc;
    rc = embar_config_set(config, "subscriber.listen=127.0.0.1:0", diag);
    if (rc == 0)
        rc = embar_config_check(config, diag);
    embar_config_destroy(config);
    return rc;
}

int main(void)
{
    struct embar_diag diag = {0, ""};
    if (check_transport(&diag) < 0 || check_config(&diag) < 0) {
        fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    printf("version %s\n", embar_version());
    return 0;
}
