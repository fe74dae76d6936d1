/*
 * The configuration as a whole: where a value comes from and which source holds, pairs of keys,
 * what is handed to backends. The grammar of files, the environment, the rules between keys and
 * printing have tests of their own. One thread.
 */
#include "support/config_fixture.h"

static void test_config_without_sources_has_every_default(void **state)
{
    struct embar_config *config = fresh_config();
    const struct option_table *table = config_options(config);

    for (size_t i = 0; i < table->count; i++)
        assert_setting(config, table->options[i].key, table->options[i].default_value);
    assert_int_equal(config_stream(config)->buffer_size, 256 << 20);
    assert_int_equal(config_stream(config)->batch_linger_ns, 5 * NS_PER_MS);
    assert_string_equal(config_stream(config)->publisher_connect, "127.0.0.1:9400");
    assert_int_equal(embar_config_check(config, NULL), 0);
    embar_config_destroy(config);
    (void)state;
}

static void test_config_tables_name_each_key_once_and_keep_groups_together(void **state)
{
    struct embar_config *config = fresh_config();
    const struct option_table *table = config_options(config);

    for (size_t i = 0; i < table->count; i++) {
        const char *key = table->options[i].key;
        size_t group = strcspn(key, ".");

        assert_ptr_equal(option_find(table, key), &table->options[i]);
        assert_non_null(table->options[i].help);
        for (size_t j = 0; key[group] == '.' && j + 1 < i; j++) {
            if (strncmp(table->options[j].key, key, group + 1) == 0 &&
                strncmp(table->options[i - 1].key, key, group + 1) != 0)
                fail_msg("%s stands apart from %s", key, table->options[j].key);
        }
    }
    embar_config_destroy(config);
    (void)state;
}

static void test_config_holds_the_strongest_source_in_any_order(void **state)
{
    /* Each digit is a source: file, environment, command line. */
    static const char *const orders[] = {"012", "021", "102", "120", "201", "210"};
    static const char *const given[] = {"file", "env", "command"};

    for (unsigned sources = 0; sources < 8; sources++) {
        for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
            struct embar_config *config = fresh_config();
            const char *wanted = "default";

            for (const char *source = orders[i]; *source != '\0'; source++) {
                if ((sources & (1u << (*source - '0'))) == 0)
                    continue;
                if (*source == '0')
                    read_good(config, "stream: file");
                else if (*source == '1')
                    load_env(config, "EMBAR_STREAM", "env");
                else
                    set_good(config, "stream=command");
            }
            for (unsigned source = 0; source < 3; source++) {
                if ((sources & (1u << source)) != 0)
                    wanted = given[source];
            }
            assert_setting(config, "stream", wanted);
            embar_config_destroy(config);
        }
    }
    (void)state;
}

static void test_config_takes_the_later_of_two_files_and_of_two_assignments(void **state)
{
    struct embar_config *config = fresh_config();

    read_good(config, "stream: one\nack: sent\n");
    read_good(config, "stream: two\n");
    assert_setting(config, "stream", "two");
    assert_setting(config, "ack", "sent");
    set_good(config, "stream=three");
    set_good(config, "stream=four");
    assert_setting(config, "stream", "four");
    embar_config_destroy(config);
    (void)state;
}

static void test_config_is_unchanged_after_a_file_with_an_error(void **state)
{
    struct embar_config *config = fresh_config(), *untouched = fresh_config();

    assert_int_equal(read_text(config, "stream: one\nack: sent\nprogress: sideways\n", NULL),
                     -EINVAL);
    assert_same_settings(config, untouched);
    embar_config_destroy(untouched);
    embar_config_destroy(config);
    (void)state;
}

static void test_config_set_refuses_what_is_no_assignment_of_a_known_key(void **state)
{
    static const struct {
        const char *assignment;
        int rc;
        const char *parts[4];
    } cases[] = {
        {"stream", -EINVAL, {"'stream'", "KEY=VALUE"}},
        {"=5", -EINVAL, {"'=5'", "KEY=VALUE"}},
        {"", -EINVAL, {"KEY=VALUE"}},
        {"batch.sise=5", -ENOENT, {"'batch.sise'", "'batch.size'"}},
        {"batch=5", -ENOENT, {"'batch'"}},
        {"batch.size=5 parsecs", -EINVAL, {"batch.size", "'5 parsecs'", "4KiB .. 1GiB"}},
        {"demo.mode=sideways", -EINVAL, {"demo.mode", "'sideways'", "slow | fast"}},
        {"stream=a\nb", -EINVAL, {"stream", "more than one line"}},
        {"stream=a\x7f", -EINVAL, {"stream", "cannot be printed"}},
        {"stream=a\xc3(", -EINVAL, {"stream is not UTF-8"}},
        {"stream=a\tb", -EINVAL, {"stream", "cannot be printed"}},
        {"stream=a\xff", -EINVAL, {"stream is not UTF-8"}},
        {"stream=a\xc0\x80", -EINVAL, {"stream is not UTF-8"}},   /* overlong */
        {"stream=a\xed\xa0\x80", -EINVAL, {"stream", "printed"}}, /* a surrogate */
        {"stream=a\xe2\x80\xa8", -EINVAL, {"stream", "printed"}}, /* a line separator */
        {"stream=a\xe2\x80", -EINVAL, {"stream is not UTF-8"}},   /* cut short */
    };
    struct embar_config *config = fresh_config(), *untouched = fresh_config();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_diag diag = {0};

        assert_int_equal(embar_config_set(config, cases[i].assignment, &diag), cases[i].rc);
        assert_int_equal(diag.error, -cases[i].rc);
        assert_sentence(&diag, "", cases[i].parts);
    }
    assert_same_settings(config, untouched);
    embar_config_destroy(untouched);
    embar_config_destroy(config);
    (void)state;
}

static void test_config_says_which_backend_a_key_lacks(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};
    static const char *const all[] = {"shm", "rdma", "tcp"};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *why = registry_missing(all[i]);
        char assignment[32];

        snprintf(assignment, sizeof(assignment), "%s.nothing=1", all[i]);
        assert_int_equal(embar_config_set(config, assignment, &diag), -ENOENT);
        if (why != NULL)
            assert_sentence(&diag, "", (const char *const[]){all[i], why, NULL});
        else
            assert_sentence(&diag, "unknown key", (const char *const[]){NULL});
    }
    embar_config_destroy(config);
    (void)state;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static void test_config_setting_one_of_a_pair_replaces_a_weaker_other(void **state)
{
    static const struct {
        const char *file, *variable, *value, *assignment;
        const char *connect, *listen;
    } cases[] = {
        {NULL, NULL, NULL, NULL, "127.0.0.1:9400", ""},
        {"publisher: {listen: 'a:1'}", NULL, NULL, NULL, "", "a:1"},
        {"publisher: {connect: 'a:1'}", NULL, NULL, NULL, "a:1", ""},
        {NULL, "EMBAR_PUBLISHER_LISTEN", "b:2", NULL, "", "b:2"},
        {NULL, NULL, NULL, "publisher.listen=c:3", "", "c:3"},
        {"publisher: {listen: 'a:1'}", NULL, NULL, "publisher.connect=c:3", "c:3", ""},
        {"publisher: {connect: 'a:1'}", "EMBAR_PUBLISHER_LISTEN", "b:2", NULL, "", "b:2"},
        {"publisher: {listen: 'a:1'}", "EMBAR_PUBLISHER_CONNECT", "b:2", "publisher.listen=c:3", "",
         "c:3"},
        {"publisher: {connect: 'a:1'}", "EMBAR_PUBLISHER_LISTEN", "b:2", "publisher.connect=c:3",
         "c:3", ""},
        /* A printed configuration has both, and one of them is empty. */
        {"publisher: {connect: '', listen: 'a:1'}", NULL, NULL, NULL, "", "a:1"},
        {"publisher: {listen: 'a:1', connect: []}", NULL, NULL, NULL, "", "a:1"},
        {"publisher: {listen: '', connect: 'a:1'}", NULL, NULL, NULL, "a:1", ""},
        /* An empty value replaces nothing but itself. */
        {"publisher: {listen: 'a:1'}", NULL, NULL, "publisher.connect=", "", "a:1"},
        {"publisher: {listen: ''}", NULL, NULL, NULL, "127.0.0.1:9400", ""},
        {"publisher: {connect: ''}", NULL, NULL, NULL, "", ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned backwards = 0; backwards < 2; backwards++) {
            struct embar_config *config = fresh_config();

            if (backwards && cases[i].assignment != NULL)
                set_good(config, cases[i].assignment);
            if (backwards && cases[i].variable != NULL)
                load_env(config, cases[i].variable, cases[i].value);
            if (cases[i].file != NULL)
                read_good(config, cases[i].file);
            if (!backwards && cases[i].variable != NULL)
                load_env(config, cases[i].variable, cases[i].value);
            if (!backwards && cases[i].assignment != NULL)
                set_good(config, cases[i].assignment);
            assert_setting(config, "publisher.connect", cases[i].connect);
            assert_setting(config, "publisher.listen", cases[i].listen);
            assert_setting(config, "subscriber.listen", "127.0.0.1:9400");
            embar_config_destroy(config);
        }
    }
    (void)state;
}

static void test_config_pair_of_the_subscriber_replaces_too(void **state)
{
    struct embar_config *config = fresh_config();

    set_good(config, "subscriber.connect=a:1,b:2");
    assert_setting(config, "subscriber.connect", "a:1,b:2");
    assert_setting(config, "subscriber.listen", "");
    assert_setting(config, "publisher.connect", "127.0.0.1:9400");
    embar_config_destroy(config);
    (void)state;
}

static void test_config_refuses_both_of_a_pair_from_one_source(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};

    assert_int_equal(read_text(config, "publisher:\n  connect: a:1\n  listen: b:2\n", &diag),
                     -EINVAL);
    assert_sentence(&diag, "f.yaml:3:11: ",
                    (const char *const[]){"publisher.listen", "publisher.connect", "f.yaml:2",
                                          "are both given", NULL});
    set_good(config, "subscriber.listen=a:1");
    assert_int_equal(embar_config_set(config, "subscriber.connect=b:2", &diag), -EINVAL);
    assert_sentence(&diag, "subscriber.connect",
                    (const char *const[]){"subscriber.listen", "command line", NULL});
    assert_setting(config, "subscriber.listen", "a:1");

    set_good(config, "subscriber.listen=");
    set_good(config, "subscriber.connect=b:2");
    assert_setting(config, "subscriber.connect", "b:2");
    assert_setting(config, "subscriber.listen", "");

    setenv("EMBAR_PUBLISHER_CONNECT", "a:1", 1);
    setenv("EMBAR_PUBLISHER_LISTEN", "b:2", 1);
    assert_int_equal(embar_config_load_env(config, &diag), -EINVAL);
    assert_sentence(&diag, "environment EMBAR_PUBLISHER_",
                    (const char *const[]){"EMBAR_PUBLISHER_CONNECT", "EMBAR_PUBLISHER_LISTEN",
                                          "are both given", NULL});
    unsetenv("EMBAR_PUBLISHER_CONNECT");
    unsetenv("EMBAR_PUBLISHER_LISTEN");
    embar_config_destroy(config);
    (void)state;
}

static void test_config_pair_follows_the_later_of_two_files(void **state)
{
    struct embar_config *config = fresh_config();

    read_good(config, "publisher.connect: a:1\n");
    read_good(config, "publisher.listen: b:2\n");
    assert_setting(config, "publisher.connect", "");
    assert_setting(config, "publisher.listen", "b:2");
    read_good(config, "publisher.connect: c:3\n");
    assert_setting(config, "publisher.connect", "c:3");
    assert_setting(config, "publisher.listen", "");
    read_good(config, "publisher.listen: ''\n");
    assert_setting(config, "publisher.connect", "c:3");
    embar_config_destroy(config);
    (void)state;
}

/* ---- what comes out ---------------------------------------------------------------------------
 */

static void test_config_get_copies_just_what_fits(void **state)
{
    struct embar_config *config = fresh_config();
    char value[8] = "before";

    set_good(config, "stream=1234567");
    assert_int_equal(embar_config_get(config, "stream", value, 7), -ENOSPC);
    assert_int_equal(embar_config_get(config, "steam", value, sizeof(value)), -ENOENT);
    assert_string_equal(value, "before");
    assert_int_equal(embar_config_get(config, "stream", value, 8), 0);
    assert_string_equal(value, "1234567");
    embar_config_destroy(config);
    (void)state;
}

static void test_config_settings_fill_the_backends_own_struct(void **state)
{
    struct embar_config *config = fresh_config();
    struct demo_settings settings;
    size_t count = 0;
    char **array;

    read_good(config, "demo: {quick: true, level: -4, room: 3MiB, pause: 7us, mode: slow}\n"
                      "demo.label: 'a = b'\ndemo.names: [x, y, 'z z']\n");
    array = config_settings(config, "demo");
    assert_non_null(array);
    memset(&settings, 0, sizeof(settings));
    for (; array[count] != NULL; count++) {
        char *equals = strchr(array[count], '=');

        *equals = '\0';
        assert_int_equal(option_set(&demo_table, array[count], equals + 1, &settings, NULL), 0);
    }
    assert_int_equal(count, demo_table.count);
    assert_true(settings.quick);
    assert_int_equal(settings.level, -4);
    assert_int_equal(settings.room, 3 << 20);
    assert_int_equal(settings.pause_ns, 7 * NS_PER_US);
    assert_int_equal(settings.mode, 0);
    assert_string_equal(settings.label, "a = b");
    assert_string_equal(settings.names, "x,y,z z");
    config_settings_free(array);

    array = config_settings(config, "none such");
    assert_non_null(array);
    assert_null(array[0]);
    config_settings_free(array);
    embar_config_destroy(config);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_without_sources_has_every_default),
        cmocka_unit_test(test_config_tables_name_each_key_once_and_keep_groups_together),
        cmocka_unit_test(test_config_holds_the_strongest_source_in_any_order),
        cmocka_unit_test(test_config_takes_the_later_of_two_files_and_of_two_assignments),
        cmocka_unit_test(test_config_is_unchanged_after_a_file_with_an_error),
        cmocka_unit_test(test_config_set_refuses_what_is_no_assignment_of_a_known_key),
        cmocka_unit_test(test_config_says_which_backend_a_key_lacks),
        cmocka_unit_test(test_config_setting_one_of_a_pair_replaces_a_weaker_other),
        cmocka_unit_test(test_config_pair_of_the_subscriber_replaces_too),
        cmocka_unit_test(test_config_refuses_both_of_a_pair_from_one_source),
        cmocka_unit_test(test_config_pair_follows_the_later_of_two_files),
        cmocka_unit_test(test_config_get_copies_just_what_fits),
        cmocka_unit_test(test_config_settings_fill_the_backends_own_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
