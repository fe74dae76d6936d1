/* The registry, and opening a transport through it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/puppet.h"
#include "transport/registry.h"

static int reset(void **state)
{
    (void)state;
    puppet_reset();
    return 0;
}

static void test_the_listed_names_are_those_of_the_backends_in_their_order(void **state)
{
    const char *const *names = embar_transport_names();
    unsigned i = 0;

    (void)state;
    for (; registry_at(i) != NULL; i++) {
        assert_non_null(names[i]);
        assert_string_equal(names[i], registry_at(i)->name);
        assert_string_equal(names[i], registry_at(i)->caps.name);
        assert_ptr_equal(registry_find(names[i]), registry_at(i));
        assert_ptr_equal(registry_options(names[i]), registry_at(i)->options);
        assert_null(registry_missing(names[i]));
    }
    assert_null(names[i]);
    assert_null(registry_at(1000));
}

static void test_a_backend_is_either_there_or_explained(void **state)
{
    static const char *const designed[] = {"shm", "rdma", "tcp"};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        if (registry_find(designed[i]) == NULL)
            assert_non_null(strchr(registry_missing(designed[i]), ' '));
        else
            assert_null(registry_missing(designed[i]));
    }
    assert_null(registry_missing("carrier pigeon"));
    assert_null(registry_find("carrier pigeon"));
    assert_null(registry_options("carrier pigeon"));
}

static void test_a_backend_is_added_once(void **state)
{
    (void)state;
    assert_int_equal(registry_add(&backend_puppet), -EEXIST);
}

static void test_opening_an_unknown_transport_names_the_known_ones(void **state)
{
    struct embar_transport *transport = NULL;
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(embar_transport_open("carrier pigeon", NULL, &transport, &diag), -ENOENT);
    assert_null(transport);
    assert_non_null(strstr(diag.text, "carrier pigeon"));
    assert_non_null(strstr(diag.text, "puppet"));
}

static void test_a_designed_transport_is_there_or_opening_it_says_how_to_get_it(void **state)
{
    (void)state;
    for (unsigned i = 0; registry_designed(i) != NULL; i++) {
        const char *name = registry_designed(i);
        struct embar_transport *transport = NULL;
        struct embar_diag diag = {0};

        if (registry_missing(name) == NULL) {
            assert_non_null(registry_find(name));
            continue;
        }
        assert_int_equal(embar_transport_open(name, NULL, &transport, &diag), -ENOTSUP);
        assert_non_null(strstr(diag.text, registry_missing(name)));
    }
}

static void open_with(const char *const *settings, uint64_t expected)
{
    struct embar_transport *transport = NULL;

    assert_int_equal(embar_transport_open("puppet", settings, &transport, NULL), 0);
    assert_int_equal(puppet.setting, expected);
    assert_int_equal(embar_transport_close(transport), 0);
}

static void test_settings_are_defaults_then_the_callers_and_the_last_one_wins(void **state)
{
    const char *const one[] = {"puppet.size=8KiB", NULL};
    const char *const two[] = {"puppet.size=8KiB", "puppet.size=16KiB", NULL};

    (void)state;
    open_with(NULL, 4096);
    open_with(one, 8192);
    open_with(two, 16384);
}

static void test_a_bad_setting_is_refused_by_name(void **state)
{
    static const struct {
        const char *assignment, *named;
    } bad[] = {
        {"puppet.size", "puppet.size"},      {"=3", "=3"},
        {"puppet.sise=1", "puppet.sise"},    {"puppet.size=3 parsecs", "3 parsecs"},
        {"puppet.size=1GiB", "puppet.size"}, {"", "puppet"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const settings[] = {bad[i].assignment, NULL};
        struct embar_transport *transport = NULL;
        struct embar_diag diag = {0};

        assert_int_equal(embar_transport_open("puppet", settings, &transport, &diag), -EINVAL);
        assert_null(transport);
        assert_int_equal(diag.error, EINVAL);
        assert_non_null(strstr(diag.text, bad[i].named));
    }
}

static void test_a_backend_that_cannot_open_says_why(void **state)
{
    struct embar_transport *transport = NULL;
    struct embar_diag diag = {0};

    (void)state;
    puppet.open_rc = -ENOTSUP;
    assert_int_equal(embar_transport_open("puppet", NULL, &transport, &diag), -ENOTSUP);
    assert_null(transport);
    assert_string_equal(diag.text, "the puppet was told to fail");
    assert_int_equal(puppet.closes, 0); /* it has kept nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_listed_names_are_those_of_the_backends_in_their_order,
                               reset),
        cmocka_unit_test_setup(test_a_backend_is_either_there_or_explained, reset),
        cmocka_unit_test_setup(test_a_backend_is_added_once, reset),
        cmocka_unit_test_setup(test_opening_an_unknown_transport_names_the_known_ones, reset),
        cmocka_unit_test_setup(test_a_designed_transport_is_there_or_opening_it_says_how_to_get_it,
                               reset),
        cmocka_unit_test_setup(test_settings_are_defaults_then_the_callers_and_the_last_one_wins,
                               reset),
        cmocka_unit_test_setup(test_a_bad_setting_is_refused_by_name, reset),
        cmocka_unit_test_setup(test_a_backend_that_cannot_open_says_why, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
