/* Sockets: opened non-blocking with the options that the settings ask for. */
#ifndef TCP_SOCKET_H
#define TCP_SOCKET_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include <embar/diag.h>

#include "settings.h"

/* Tries the settings on a socket of its own, so that a bad one fails the opening of the transport
 * rather than the first link; logs what the kernel grants less than asked for. -EINVAL, -ENOTSUP.
 */
int tcp_socket_try_settings(const struct tcp_settings *settings, struct embar_diag *diag);

/* A non-blocking socket for connecting, options set; or a negative errno. */
int tcp_socket_open(int family, const struct tcp_settings *settings, struct embar_diag *diag);

/* Sets the options of a connection that a listener has taken. */
int tcp_socket_prepare(int fd, const struct tcp_settings *settings, struct embar_diag *diag);

/* Binds the first address of the list that can be bound and listens; a wildcard of both families is
 * one socket for both. Returns the socket, or a negative errno with the sentence. */
int tcp_socket_listen(const char *address, const struct tcp_settings *settings,
                      struct embar_diag *diag);

/* Switches MSG_ZEROCOPY on. 0 or a negative errno. */
int tcp_socket_enable_zerocopy(int fd);

/* The connection reached itself: the kernel picked the port it was to connect to as its own. */
bool tcp_socket_is_own_peer(int fd);

/* Numeric "HOST:PORT" of the other end, or "?". Returns `text`. */
const char *tcp_socket_peer(int fd, char *text, size_t text_bytes);

/* Resets the connection and drops what the kernel has not sent, so that it reads no source any
 * more; the descriptor stays open for the completions. */
void tcp_socket_abort(int fd);

/* Closes; with `reset` the peer gets a reset instead of an orderly end. */
void tcp_socket_close(int fd, bool reset);

/* Bytes that must have come before epoll reports the socket readable (SO_RCVLOWAT). */
void tcp_socket_set_low_water(int fd, uint32_t bytes);

/* Bytes that the peer's host has not acknowledged yet; 0 also when the kernel does not know. */
uint64_t tcp_socket_unacked(int fd);

#endif
