/* "HOST:PORT" and "[V6]:PORT" addresses: splitting, resolving, printing. */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <embar/diag.h>

#define ADDRESS_BYTES 300 /* room for a host name, brackets, colon and port */

/* Splits; pure. -EINVAL with a sentence. `port` is "0".."65535". `host` may come out empty for
 * ":PORT", which means any address to a listener. */
int address_split(const char *address, char *host, size_t host_bytes, char *port, size_t port_bytes,
                  struct embar_diag *diag);

/* Resolves with getaddrinfo(3) for SOCK_STREAM; may block. `passive` for listeners. -EINVAL bad
 * form, -ENOENT no such host or no name server, -ENOMEM, or what the system said. Free the list
 * with freeaddrinfo(3). */
int address_resolve(const char *address, bool passive, struct addrinfo **list,
                    struct embar_diag *diag);

/* Prints numerically as "127.0.0.1:9400" or "[::1]:9400"; returns `text`. */
const char *address_format(const struct sockaddr *sa, socklen_t len, char *text, size_t text_bytes);

#endif
