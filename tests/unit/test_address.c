/* Addresses: what is taken, what is refused and with which words, and what is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "common/address.h"

static void split(const char *address, const char *want_host, const char *want_port)
{
    char host[64], port[8];
    struct embar_diag diag = {0};

    assert_int_equal(address_split(address, host, sizeof(host), port, sizeof(port), &diag), 0);
    assert_string_equal(host, want_host);
    assert_string_equal(port, want_port);
    assert_int_equal(diag.error, 0);
}

static void refuse(const char *address, const char *words)
{
    char host[64] = "old", port[8] = "old";
    struct embar_diag diag = {0};

    assert_int_equal(address_split(address, host, sizeof(host), port, sizeof(port), &diag),
                     -EINVAL);
    assert_non_null(strstr(diag.text, address));
    if (!strstr(diag.text, words))
        fail_msg("'%s' does not say '%s'", diag.text, words);
    assert_string_equal(host, "old");
    assert_string_equal(port, "old");
    assert_int_equal(address_split(address, host, sizeof(host), port, sizeof(port), NULL), -EINVAL);
}

static void test_address_splits_host_and_port(void **state)
{
    (void)state;
    split("127.0.0.1:9400", "127.0.0.1", "9400");
    split("db-1.example.org:65535", "db-1.example.org", "65535");
    split("host:0", "host", "0");
    split(":9400", "", "9400");
    split("[::1]:9400", "::1", "9400");
    split("[fe80::1%eth0]:1", "fe80::1%eth0", "1");
}

static void test_address_without_a_sensible_form_is_refused_in_words(void **state)
{
    (void)state;
    refuse("localhost", "write HOST:PORT");
    refuse("", "write HOST:PORT");
    refuse("::1:9400", "several colons");
    refuse("[::1]", "lacks a port");
    refuse("[::1]9400", "lacks a port");
    refuse("[::1:9400", "closing ']'");
    refuse("[]:9400", "no IPv6 address");
    refuse("[localhost]:9400", "no IPv6 address");
    refuse("my host:9400", "no host name has");
    refuse("a,b:9400", "no host name has");
    refuse("tcp//host:9400", "no host name has");
}

static void test_address_port_is_a_number_up_to_65535(void **state)
{
    (void)state;
    refuse("host:", "port from 0 to 65535");
    refuse("host:65536", "port from 0 to 65535");
    refuse("host:99999999999999999999", "port from 0 to 65535");
    refuse("host:18446744073709551617", "port from 0 to 65535"); /* 1 modulo 2^64 */
    refuse("host:-1", "port from 0 to 65535");
    refuse("host:+1", "port from 0 to 65535");
    refuse("host:http", "port from 0 to 65535");
    refuse("host:80 ", "port from 0 to 65535");
}

static void test_address_longer_than_the_room_is_refused(void **state)
{
    char host[5] = "old", port[5] = "old";
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(address_split("abcd:1234", host, sizeof(host), port, sizeof(port), &diag), 0);
    assert_int_equal(address_split("abcde:1234", host, sizeof(host), port, sizeof(port), &diag),
                     -EINVAL);
    assert_non_null(strstr(diag.text, "too long"));
    assert_int_equal(address_split("abcd:12345", host, sizeof(host), port, sizeof(port), &diag),
                     -EINVAL);
    assert_string_equal(host, "abcd");
    assert_string_equal(port, "1234");
}

static void check_resolved(const char *address, bool passive, const char *want)
{
    struct addrinfo *list = NULL;
    struct embar_diag diag = {0};
    char text[ADDRESS_BYTES];

    assert_int_equal(address_resolve(address, passive, &list, &diag), 0);
    assert_non_null(list);
    assert_int_equal(list->ai_socktype, SOCK_STREAM);
    assert_string_equal(address_format(list->ai_addr, list->ai_addrlen, text, sizeof(text)), want);
    freeaddrinfo(list);
}

static void test_address_resolves_numbers_of_both_families(void **state)
{
    (void)state;
    check_resolved("127.0.0.1:9400", false, "127.0.0.1:9400");
    check_resolved("[::1]:9400", false, "[::1]:9400");
    check_resolved("[::1]:0", true, "[::1]:0");
}

static void test_address_without_a_host_is_any_for_a_listener_only(void **state)
{
    struct addrinfo *list = NULL;
    struct embar_diag diag = {0};
    bool any4 = false, any6 = false;
    char text[ADDRESS_BYTES];

    (void)state;
    assert_int_equal(address_resolve(":9400", true, &list, &diag), 0);
    for (struct addrinfo *at = list; at; at = at->ai_next) {
        address_format(at->ai_addr, at->ai_addrlen, text, sizeof(text));
        any4 = any4 || strcmp(text, "0.0.0.0:9400") == 0;
        any6 = any6 || strcmp(text, "[::]:9400") == 0;
    }
    assert_true(any4 && any6);
    freeaddrinfo(list);
    list = NULL;
    assert_int_equal(address_resolve(":9400", false, &list, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "lacks a host"));
    assert_null(list);
}

static void test_address_of_no_such_host_is_refused_in_words(void **state)
{
    struct addrinfo *list = NULL;
    struct embar_diag diag = {0};

    (void)state;
    /* ".invalid" never resolves (RFC 2606); "[1::2::3]" is no address, and asks nobody. */
    assert_int_equal(address_resolve("nowhere.invalid:9400", false, &list, &diag), -ENOENT);
    assert_non_null(strstr(diag.text, "nowhere.invalid:9400"));
    assert_int_equal(diag.error, ENOENT);
    assert_int_equal(address_resolve("[1::2::3]:9400", false, &list, &diag), -ENOENT);
    assert_null(list);
}

static void test_address_prints_a_mapped_ipv4_peer_as_ipv4(void **state)
{
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(9400)};
    char text[ADDRESS_BYTES];

    (void)state;
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.1.2.3", &mapped.sin6_addr), 1);
    assert_string_equal(
        address_format((struct sockaddr *)&mapped, sizeof(mapped), text, sizeof(text)),
        "10.1.2.3:9400");
}

static void test_address_of_another_family_is_named_so(void **state)
{
    struct sockaddr other = {.sa_family = 77};
    char text[ADDRESS_BYTES];

    (void)state;
    assert_string_equal(address_format(&other, sizeof(other), text, sizeof(text)),
                        "unknown address (family 77)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_splits_host_and_port),
        cmocka_unit_test(test_address_without_a_sensible_form_is_refused_in_words),
        cmocka_unit_test(test_address_port_is_a_number_up_to_65535),
        cmocka_unit_test(test_address_longer_than_the_room_is_refused),
        cmocka_unit_test(test_address_resolves_numbers_of_both_families),
        cmocka_unit_test(test_address_without_a_host_is_any_for_a_listener_only),
        cmocka_unit_test(test_address_of_no_such_host_is_refused_in_words),
        cmocka_unit_test(test_address_prints_a_mapped_ipv4_peer_as_ipv4),
        cmocka_unit_test(test_address_of_another_family_is_named_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
