/*
 * Splits, resolves and prints "HOST:PORT" and "[V6]:PORT". Owns nothing; any thread.
 */
#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/text.h"

#define PORT_MAX 65535

/* The parts of an address, borrowed from it. */
struct parts {
    const char *host, *port;
    size_t host_len;
    bool bracketed;
};

static int find_parts(const char *address, struct parts *parts, struct embar_diag *diag)
{
    if (address[0] == '[') {
        const char *end = strchr(address, ']');
        if (!end)
            return diag_fail(diag, EINVAL, "address '%s' lacks the closing ']'; write [V6]:PORT",
                             address);
        if (end[1] != ':')
            return diag_fail(diag, EINVAL, "address '%s' lacks a port after ']'; write [V6]:PORT",
                             address);
        *parts = (struct parts){address + 1, end + 2, (size_t)(end - address - 1), true};
        return 0;
    }
    const char *colon = strrchr(address, ':');
    if (!colon)
        return diag_fail(diag, EINVAL, "address '%s' lacks a port; write HOST:PORT", address);
    if (memchr(address, ':', (size_t)(colon - address)))
        return diag_fail(diag, EINVAL,
                         "address '%s' has several colons; write an IPv6 address as [V6]:PORT",
                         address);
    *parts = (struct parts){address, colon + 1, (size_t)(colon - address), false};
    return 0;
}

static int check_host(const char *address, const struct parts *parts, struct embar_diag *diag)
{
    for (size_t i = 0; i < parts->host_len; i++) {
        unsigned char c = (unsigned char)parts->host[i];
        if (c <= ' ' || c == 0x7F || c == '[' || c == ']' || c == ',' || c == '/')
            return diag_fail(diag, EINVAL, "address '%s' has a character that no host name has",
                             address);
    }
    if (parts->bracketed && !memchr(parts->host, ':', parts->host_len))
        return diag_fail(diag, EINVAL,
                         "address '%s' has no IPv6 address in its brackets; write [V6]:PORT",
                         address);
    return 0;
}

static int check_port(const char *address, const struct parts *parts, struct embar_diag *diag)
{
    unsigned long port = 0;
    const char *c = parts->port;

    for (; *c >= '0' && *c <= '9' && port <= PORT_MAX; c++)
        port = port * 10 + (unsigned long)(*c - '0');
    if (c == parts->port || *c || port > PORT_MAX)
        return diag_fail(diag, EINVAL, "address '%s' has no port from 0 to 65535 after its colon",
                         address);
    return 0;
}

int address_split(const char *address, char *host, size_t host_bytes, char *port, size_t port_bytes,
                  struct embar_diag *diag)
{
    struct parts parts = {0};
    int rc = find_parts(address, &parts, diag);

    if (rc == 0)
        rc = check_host(address, &parts, diag);
    if (rc == 0)
        rc = check_port(address, &parts, diag);
    if (rc != 0)
        return rc;
    size_t port_len = strlen(parts.port);
    if (parts.host_len >= host_bytes || port_len >= port_bytes)
        return diag_fail(diag, EINVAL, "address '%s' is too long", address);
    memcpy(host, parts.host, parts.host_len);
    host[parts.host_len] = '\0';
    memcpy(port, parts.port, port_len + 1);
    return 0;
}

static int resolve_failed(int gai, int error, const char *address, struct embar_diag *diag)
{
    switch (gai) {
    case EAI_MEMORY:
        return diag_fail(diag, ENOMEM, "cannot resolve '%s': out of memory", address);
    case EAI_SYSTEM:
        return diag_fail(diag, error ? error : EIO, "cannot resolve '%s': %s", address,
                         strerror(error));
    case EAI_AGAIN:
        return diag_fail(diag, ENOENT,
                         "cannot resolve '%s': no name server answered; try again, or write the IP "
                         "address",
                         address);
    default:
        return diag_fail(diag, ENOENT,
                         "no such host in '%s' (%s); check the name, or write the IP address",
                         address, gai_strerror(gai));
    }
}

int address_resolve(const char *address, bool passive, struct addrinfo **list,
                    struct embar_diag *diag)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
    };
    struct addrinfo *found;
    int rc = address_split(address, host, sizeof(host), port, sizeof(port), diag);

    if (rc != 0)
        return rc;
    if (host[0] == '\0' && !passive)
        return diag_fail(diag, EINVAL, "address '%s' lacks a host to connect to; write HOST:PORT",
                         address);
    errno = 0;
    int gai = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (gai != 0)
        return resolve_failed(gai, errno, address, diag);
    *list = found;
    return 0;
}

const char *address_format(const struct sockaddr *sa, socklen_t len, char *text, size_t text_bytes)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
        /* A listener for both families sees IPv4 peers as ::ffff:a.b.c.d. */
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            v4.sin_port = v6->sin6_port;
            memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
            sa = (const struct sockaddr *)&v4;
            len = sizeof(v4);
        }
    }
    int gai = getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
                          NI_NUMERICHOST | NI_NUMERICSERV);
    if (gai != 0)
        return text_format(text, text_bytes, "unknown address (family %d)", sa->sa_family);
    return text_format(text, text_bytes, sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                       port);
}
