/*
 * What must hold between the keys of a configuration, and which transports it asks for. One thread.
 */
#include "support/config_fixture.h"

#define SETS_MAX 4

/* Sets each of the assignments up to NULL. */
static struct embar_config *config_with(const char *const *assignments)
{
    struct embar_config *config = fresh_config();

    for (size_t i = 0; i < SETS_MAX && assignments[i] != NULL; i++)
        set_good(config, assignments[i]);
    return config;
}

static void test_check_accepts_what_fits_together(void **state)
{
    static const char *const cases[][SETS_MAX] = {
        {NULL},
        {"buffer.size=8KiB", "batch.size=4KiB", "batch.in_flight=2"},
        {"buffer.size=4MiB", "batch.size=2MiB", "batch.in_flight=2"},
        {"buffer.size=256MiB", "batch.size=4KiB"},
        {"buffer.size=5MiB", "batch.size=2MiB", "batch.in_flight=2"}, /* the rest lies idle */
        {"batch.size=4160"},
        {"batch.in_flight=128"},
        {"publisher.listen=:0"},
        {"publisher.listen=[::]:9400"},
        {"subscriber.listen=localhost:0"},
        {"publisher.connect=a:1,a:2,b:1"},
        {"publisher.connect=[::1]:1,[::2]:1"},
        {"subscriber.connect=host.example:9400"},
        {"transport=demo"},
        {"transport=tcp,demo"},
        {"transport=auto"},
        {"transport=shm,rdma,tcp"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = config_with(cases[i]);
        struct embar_diag diag = {0};

        if (embar_config_check(config, &diag) != 0)
            fail_msg("case %zu was refused: %s", i, diag.text);
        assert_int_equal(diag.error, 0);
        embar_config_destroy(config);
    }
    (void)state;
}

static void test_check_refuses_what_does_not_fit_and_says_where_it_came_from(void **state)
{
    static const struct {
        const char *sets[SETS_MAX];
        const char *begin, *parts[5];
    } cases[] = {
        {{"batch.size=512MiB"},
         "batch.size '512MiB' (command line) does not fit into buffer.size '256MiB' (default)",
         {NULL}},
        {{"batch.size=256MiB"}, "batch.size '256MiB'", {"one slot", "at least two"}},
        {{"buffer.size=1MiB"}, "batch.size '2MiB' (default)", {"buffer.size '1MiB'", "fit"}},
        {{"batch.size=4097"}, "batch.size '4097'", {"multiple of 64"}},
        {{"batch.size=4KiB", "buffer.size=512MiB"}, "batch.size '4KiB'", {"131072 slots", "65536"}},
        {{"batch.in_flight=129"}, "batch.in_flight '129'", {"128 slots", "batch.size '2MiB'"}},
        {{"stream="}, "stream ''", {"name"}},
        {{"publisher.connect="}, "neither publisher.connect nor publisher.listen", {NULL}},
        {{"subscriber.listen="}, "neither subscriber.connect nor subscriber.listen", {NULL}},
        {{"publisher.connect=nowhere"}, "publisher.connect 'nowhere' (command line)", {"port"}},
        {{"publisher.connect=a:1,b"}, "publisher.connect 'a:1,b'", {"'b'"}},
        {{"publisher.connect=a:0"}, "publisher.connect 'a:0'", {"HOST:PORT"}},
        {{"publisher.connect=a:00"}, "publisher.connect 'a:00'", {"HOST:PORT"}},
        {{"publisher.connect=:9400"}, "publisher.connect ':9400'", {"HOST:PORT"}},
        {{"publisher.connect=a:1,b:1,a:1"}, "publisher.connect", {"names a:1 twice"}},
        {{"publisher.listen=a:70000"}, "publisher.listen 'a:70000'", {"65535"}},
        {{"subscriber.listen=::1:9400"}, "subscriber.listen '::1:9400'", {"[V6]:PORT"}},
        {{"subscriber.connect=a:"}, "subscriber.connect 'a:'", {"port"}},
        {{"transport="}, "transport ''", {"auto", "rdma", "shm", "tcp"}},
        {{"transport=tpc"}, "transport 'tpc'", {"'tpc' is not a transport", "tcp"}},
        {{"transport=tcp,tcp"}, "transport 'tcp,tcp'", {"twice"}},
        {{"transport=auto,tcp"}, "transport 'auto,tcp'", {"alone"}},
        {{"transport=tcp,auto"}, "transport 'tcp,auto'", {"alone"}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = config_with(cases[i].sets);
        struct embar_diag diag = {0};

        if (embar_config_check(config, &diag) != -EINVAL)
            fail_msg("'%s' passed or failed otherwise: %s", cases[i].sets[0], diag.text);
        assert_int_equal(diag.error, EINVAL);
        assert_sentence(&diag, cases[i].begin, cases[i].parts);
        embar_config_destroy(config);
    }
    (void)state;
}

static void test_check_refuses_only_when_every_transport_is_missing(void **state)
{
    static const char *const all[] = {"shm", "rdma", "tcp"};
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};
    char alone[32], with_demo[32], both[EMBAR_DIAG_BYTES];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *why = registry_missing(all[i]);

        snprintf(alone, sizeof(alone), "transport=%s", all[i]);
        snprintf(with_demo, sizeof(with_demo), "transport=%s,demo", all[i]);
        set_good(config, with_demo);
        assert_int_equal(embar_config_check(config, NULL), 0);
        set_good(config, alone);
        assert_int_equal(embar_config_check(config, &diag), why != NULL ? -ENOTSUP : 0);
        if (why != NULL)
            assert_sentence(&diag, "transport", (const char *const[]){all[i], why, NULL});
    }
    set_good(config, "transport=shm,rdma");
    if (registry_missing("shm") != NULL && registry_missing("rdma") != NULL) {
        snprintf(both, sizeof(both), "%s; %s", registry_missing("shm"), registry_missing("rdma"));
        assert_int_equal(embar_config_check(config, &diag), -ENOTSUP);
        assert_sentence(&diag, "transport 'shm,rdma'", (const char *const[]){both, NULL});
    }
    embar_config_destroy(config);
    (void)state;
}

static void test_transports_come_in_order_of_preference(void **state)
{
    static const struct {
        const char *assignment, *wanted[4];
    } cases[] = {
        {"transport=auto", {"shm", "rdma", "tcp"}},
        {"transport=tcp", {"tcp"}},
        {"transport=demo", {"demo"}},
        {"transport=tcp,demo,rdma", {"tcp", "demo", "rdma"}},
        {"transport=", {NULL}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = fresh_config();
        const char *names[4];
        int count = 0;

        set_good(config, cases[i].assignment);
        while (cases[i].wanted[count] != NULL)
            count++;
        assert_int_equal(config_transports(config, names, 4), count);
        for (int n = 0; n < count; n++)
            assert_string_equal(names[n], cases[i].wanted[n]);
        if (count > 0)
            assert_int_equal(config_transports(config, names, count - 1), -ENOSPC);
        assert_int_equal(config_transports(config, names, count), count);
        set_good(config, "transport=tcp,sideways");
        assert_int_equal(config_transports(config, names, 4), -EINVAL);
        embar_config_destroy(config);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_accepts_what_fits_together),
        cmocka_unit_test(test_check_refuses_what_does_not_fit_and_says_where_it_came_from),
        cmocka_unit_test(test_check_refuses_only_when_every_transport_is_missing),
        cmocka_unit_test(test_transports_come_in_order_of_preference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
