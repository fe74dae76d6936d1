/*
 * Where two processes of one host meet: "HOST:PORT" becomes the abstract Unix socket (unix(7))
 * "\0embar/PORT" of the network namespace, whichever of the host's own addresses HOST names. And
 * who is at the other end of such a socket. Calls block only to resolve a name; any thread.
 */
#ifndef SHM_PLACE_H
#define SHM_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <embar/diag.h>

struct shm_place {
    struct sockaddr_un name;
    socklen_t name_bytes;
};

/* A listening socket, and "HOST:PORT" as bound; port 0 finds one that is free for TCP too. Or a
 * negative errno with the sentence: -EADDRNOTAVAIL not an address of this host; -EADDRINUSE. */
int shm_place_listen(const char *address, char *bound, size_t bound_bytes, struct embar_diag *diag);

/* Where a peer that listens on `address` is found. -EADDRNOTAVAIL not an address of this host. */
int shm_place_find(const char *address, struct shm_place *place, struct embar_diag *diag);

/* Whether the process at the other end of `fd` is of this process's user or of root, or any may be.
 * Prints who it is as "pid:NUMBER". -EACCES with the sentence. */
int shm_place_check_peer(int fd, bool allow_other_users, char *peer, size_t peer_bytes,
                         struct embar_diag *diag);

#endif
