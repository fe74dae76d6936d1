/*
 * Listening and connecting: strangers at the port, servers of another protocol, nobody there, both
 * families, and settings that cannot be. The test's one thread.
 */
#include "tcp_raw_peer.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <sys/resource.h>

/* ---- strangers at the listening port --------------------------------------------------------- */

static void test_random_bytes_are_dropped_without_an_effect_on_others(void **state)
{
    struct embar_link *link;
    int friend, stranger;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    friend = raw_join(&link);
    srand(5);
    for (unsigned i = 0; i < 50; i++) {
        uint8_t junk[200];

        for (unsigned j = 0; j < sizeof(junk); j++)
            junk[j] = (uint8_t)rand();
        stranger = raw_connect();
        raw_send(stranger, junk, 32 + (size_t)rand() % 168);
        assert_true(raw_is_closed(stranger));
        close(stranger);
    }
    assert_int_equal(us.count[EMBAR_EVENT_LINK_REQUEST], 1);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
    assert_link_works(friend);
    close(friend);
    close_link(link);
    close_transport();
}

static void test_silent_connection_is_dropped_after_the_handshake_timeout(void **state)
{
    const char *settings[] = {"tcp.handshake_timeout=100ms", NULL};
    uint64_t begin = now_ns();
    int stranger;

    (void)state;
    open_listener("127.0.0.1:0", settings);
    stranger = raw_connect();
    raw_send(stranger, "EB", 2); /* a good beginning is not enough */
    turn(1000);
    turn(20);
    assert_false(sleeps_for(10000)); /* the time-out wakes a sleeper */
    assert_true(raw_is_closed(stranger));
    assert_in_range(now_ns() - begin, 90 * NS_PER_MS, 5 * NS_PER_S);
    close(stranger);
    close_transport();
}

static void test_silent_connections_are_bounded_and_do_not_lock_others_out(void **state)
{
    struct embar_link *link;
    unsigned closed = 0;
    int silent[300], friend;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    for (unsigned i = 0; i < 300; i++) {
        silent[i] = raw_connect();
        turn(0);
    }
    friend = raw_join(&link);
    assert_link_works(friend);
    for (unsigned i = 0; i < 300; i++) {
        struct pollfd fd = {.fd = silent[i], .events = POLLIN};

        closed += poll(&fd, 1, 0) == 1;
        close(silent[i]);
    }
    assert_in_range(closed, 300 - 128, 300 - 100);
    close(friend);
    close_link(link);
    close_transport();
}

static void test_other_version_is_told_so(void **state)
{
    uint8_t header[TCP_FRAME_BYTES];
    char reason[256];
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_connect();
    tcp_frame_pack(&request, header);
    header[2] = TCP_FRAME_VERSION + 1;
    raw_send(fd, header, sizeof(header));
    assert_int_equal(raw_read_reason(fd, reason).type, TCP_FRAME_REJECT);
    assert_non_null(strstr(reason, "version"));
    assert_true(raw_is_closed(fd));
    close(fd);
    close_transport();
}

static void test_listener_without_descriptors_recovers(void **state)
{
    struct rlimit before, none;
    struct embar_link *link;
    int stranger, friend;
    unsigned turns = 0;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    stranger = raw_connect();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (uint64_t end = now_ns() + 200 * NS_PER_MS; now_ns() < end; turns++)
        turn(20);
    assert_in_range(turns, 1, 100); /* and does not spin meanwhile */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    friend = raw_join(&link);
    assert_link_works(friend);
    close(stranger);
    close(friend);
    close_link(link);
    close_transport();
}

/* ---- connecting -------------------------------------------------------------------------------
 */

static struct embar_link *begin_connect(const char *address)
{
    struct embar_link *link = NULL;

    assert_int_equal(embar_connect(us.transport, address, &link, NULL), 0);
    return link;
}

static void test_nobody_listening_is_refused_with_the_address(void **state)
{
    struct embar_link *link;
    char address[64];
    int fd = raw_listen(address, sizeof(address));

    (void)state;
    close(fd); /* the port is free again */
    open_transport(NULL);
    link = begin_connect(address);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNREFUSED);
    assert_non_null(strstr(us.reason, address));
    assert_non_null(strstr(us.reason, "nobody listens"));
    close_link(link);
    close_transport();
}

/* What a connector says of a server that sends `greeting` (NULL: nothing) and closes or not. */
static int connect_to_stranger(const char *greeting, bool closes)
{
    const char *settings[] = {"tcp.connect_timeout=200ms", NULL};
    char address[64];
    int fd = raw_listen(address, sizeof(address)), peer, status;
    struct embar_link *link;

    open_transport(settings);
    link = begin_connect(address);
    peer = accept(fd, NULL, NULL);
    assert_true(peer >= 0);
    turn(100); /* the REQUEST goes out */
    if (greeting != NULL)
        raw_send(peer, greeting, strlen(greeting));
    if (closes)
        shutdown(peer, SHUT_WR);
    status = await(EMBAR_EVENT_LINK_DOWN)->status;
    assert_non_null(strstr(us.reason, address));
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], 0);
    close(peer);
    close(fd);
    close_link(link);
    close_transport();
    return status;
}

static void test_server_of_another_protocol_is_recognized(void **state)
{
    (void)state;
    assert_int_equal(connect_to_stranger("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", false),
                     -EPROTO);
    assert_non_null(strstr(us.reason, "is the port right"));
}

static void test_silent_server_is_given_up_after_the_connect_timeout(void **state)
{
    (void)state;
    assert_int_equal(connect_to_stranger(NULL, false), -ETIMEDOUT);
}

static void test_server_that_closes_is_no_listener_of_ours(void **state)
{
    (void)state;
    assert_int_equal(connect_to_stranger(NULL, true), -ECONNRESET);
}

static void test_full_backlog_ends_in_the_connect_timeout(void **state)
{
    const char *settings[] = {"tcp.connect_timeout=300ms", NULL};
    struct sockaddr_in sa = loopback(0);
    socklen_t len = sizeof(sa);
    int fd = raw_socket(), fill[4];
    struct embar_link *link;
    char address[64];

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    for (unsigned i = 0; i < 4; i++) { /* nobody accepts: further SYNs are not answered */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&sa, sizeof(sa));
    }
    snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    open_transport(settings);
    link = begin_connect(address);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ETIMEDOUT);
    assert_non_null(strstr(us.reason, "firewall"));
    close_link(link);
    close_transport();
    for (unsigned i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

/* A name with two addresses, at the first of which nobody listens. The linker takes these before
 * the C library's. */
static struct sockaddr_in two_addresses[2];
static struct addrinfo two_infos[2];

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    typedef int function(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (node == NULL || strcmp(node, "two.test") != 0)
        return ((function *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, list);
    for (unsigned i = 0; i < 2; i++) {
        two_addresses[i] = loopback((unsigned)atoi(service));
        two_infos[i] = (struct addrinfo){.ai_family = AF_INET,
                                         .ai_socktype = SOCK_STREAM,
                                         .ai_addr = (struct sockaddr *)&two_addresses[i],
                                         .ai_addrlen = sizeof(two_addresses[i])};
    }
    two_addresses[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    two_infos[0].ai_next = &two_infos[1];
    *list = two_infos;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    typedef void function(struct addrinfo *);

    if (list != two_infos)
        ((function *)dlsym(RTLD_NEXT, "freeaddrinfo"))(list);
}

static void test_each_address_of_a_name_is_tried(void **state)
{
    char address[64], by_name[64];
    struct embar_link *link;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    snprintf(address, sizeof(address), "%s", embar_listener_address(us.listener));
    snprintf(by_name, sizeof(by_name), "two.test:%u", port_of(address));
    link = begin_connect(by_name);
    await(EMBAR_EVENT_LINK_REQUEST);
    assert_string_equal(embar_link_peer(link), address);
    assert_int_equal(embar_reject(us.last[EMBAR_EVENT_LINK_REQUEST].link, "only asking"), 0);
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 2);
    assert_int_equal(embar_link_close(us.last[EMBAR_EVENT_LINK_REQUEST].link), 0);
    assert_int_equal(embar_link_close(link), 0);
    close_transport();
}

static void test_name_whose_addresses_all_refuse_is_refused(void **state)
{
    char address[64], by_name[64];
    int fd = raw_listen(address, sizeof(address));
    struct embar_link *link;

    (void)state;
    close(fd);
    snprintf(by_name, sizeof(by_name), "two.test:%u", port_of(address));
    open_transport(NULL);
    link = begin_connect(by_name);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNREFUSED);
    close_link(link);
    close_transport();
}

/* In a network of its own, where 40000 is the only port that the kernel can give to a connector. */
static void test_connection_to_itself_is_nobody_listening(void **state)
{
    struct embar_link *link;
    FILE *range;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0)
        skip();
    set_loopback_up(true);
    range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
    assert_non_null(range);
    fputs("40000 40000\n", range);
    assert_int_equal(fclose(range), 0);
    open_transport(NULL);
    link = begin_connect("127.0.0.1:40000");
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNREFUSED);
    close_link(link);
    close_transport();
}

/* ---- listening --------------------------------------------------------------------------------
 */

static bool can_connect(const char *address)
{
    struct embar_link *link = begin_connect(address);
    bool asked;

    us.count[EMBAR_EVENT_LINK_REQUEST] = us.count[EMBAR_EVENT_LINK_DOWN] = 0;
    until(us.count[EMBAR_EVENT_LINK_REQUEST] + us.count[EMBAR_EVENT_LINK_DOWN] > 0);
    asked = us.count[EMBAR_EVENT_LINK_REQUEST] > 0;
    if (asked) {
        struct embar_link *server = us.last[EMBAR_EVENT_LINK_REQUEST].link;

        us.count[EMBAR_EVENT_LINK_DOWN] = 0;
        assert_int_equal(embar_reject(server, "only asking"), 0);
        until(us.count[EMBAR_EVENT_LINK_DOWN] == 2);
        assert_int_equal(embar_link_close(server), 0);
    }
    assert_int_equal(embar_link_close(link), 0);
    return asked;
}

static bool listener_serves(const char *listen_on, const char *host)
{
    char address[64];
    bool served;

    open_listener(listen_on, NULL);
    snprintf(address, sizeof(address), "%s:%u", host, port_of(embar_listener_address(us.listener)));
    served = can_connect(address);
    close_transport();
    return served;
}

static void test_listener_without_a_host_serves_both_families(void **state)
{
    (void)state;
    assert_true(listener_serves(":0", "127.0.0.1"));
    assert_true(listener_serves(":0", "[::1]"));
}

static void test_listener_on_an_address_serves_its_family_only(void **state)
{
    (void)state;
    assert_true(listener_serves("[::]:0", "[::1]"));
    assert_false(listener_serves("[::]:0", "127.0.0.1"));
    assert_false(listener_serves("0.0.0.0:0", "[::1]"));
}

static void test_port_in_use_is_an_error_with_the_address(void **state)
{
    struct embar_diag diag = {0};
    struct embar_listener *second;
    char address[64];

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    snprintf(address, sizeof(address), "%s", embar_listener_address(us.listener));
    assert_int_equal(embar_listen(us.transport, address, &second, &diag), -EADDRINUSE);
    assert_non_null(strstr(diag.text, address));
    close_transport();
}

/* ---- settings ----------------------------------------------------------------------------------
 */

static int try_setting(const char *setting, struct embar_diag *diag)
{
    const char *settings[] = {setting, NULL};
    struct embar_transport *transport;
    int rc = embar_transport_open("tcp", settings, &transport, diag);

    if (rc == 0)
        assert_int_equal(embar_transport_close(transport), 0);
    return rc;
}

static void test_unknown_congestion_control_is_refused_at_open(void **state)
{
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(try_setting("tcp.congestion_control=carrier_pigeon", &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "carrier_pigeon"));
    assert_int_equal(try_setting("tcp.congestion_control=reno", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes_are_dropped_without_an_effect_on_others),
        cmocka_unit_test(test_silent_connection_is_dropped_after_the_handshake_timeout),
        cmocka_unit_test(test_silent_connections_are_bounded_and_do_not_lock_others_out),
        cmocka_unit_test(test_other_version_is_told_so),
        cmocka_unit_test(test_listener_without_descriptors_recovers),
        cmocka_unit_test(test_nobody_listening_is_refused_with_the_address),
        cmocka_unit_test(test_server_of_another_protocol_is_recognized),
        cmocka_unit_test(test_silent_server_is_given_up_after_the_connect_timeout),
        cmocka_unit_test(test_server_that_closes_is_no_listener_of_ours),
        cmocka_unit_test(test_full_backlog_ends_in_the_connect_timeout),
        cmocka_unit_test(test_each_address_of_a_name_is_tried),
        cmocka_unit_test(test_name_whose_addresses_all_refuse_is_refused),
        cmocka_unit_test(test_listener_without_a_host_serves_both_families),
        cmocka_unit_test(test_listener_on_an_address_serves_its_family_only),
        cmocka_unit_test(test_port_in_use_is_an_error_with_the_address),
        cmocka_unit_test(test_unknown_congestion_control_is_refused_at_open),
        cmocka_unit_test(test_connection_to_itself_is_nobody_listening), /* leaves this network */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
