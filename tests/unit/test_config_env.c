/*
 * The environment as a source of the configuration: names of variables, their values, and what is
 * said of a variable that is nobody's. Each test sets and unsets its own variables. One thread.
 */
#include "support/config_fixture.h"

static void test_env_has_a_variable_of_its_own_for_every_key(void **state)
{
    struct embar_config *config = fresh_config();
    const struct option_table *table = config_options(config);

    for (size_t i = 0; i < table->count; i++) {
        char name[96], other[96];

        config_variable(table->options[i].key, name, sizeof(name));
        assert_true(strlen(name) < 80);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(name,
                                    config_variable(table->options[j].key, other, sizeof(other)));
        /* Set to the default it is taken, so it is none of the reserved names either. */
        setenv(name, table->options[i].default_value, 1);
        assert_int_equal(embar_config_load_env(config, NULL), 0);
        unsetenv(name);
    }
    embar_config_destroy(config);
    (void)state;
}

static void test_env_variable_sets_its_key(void **state)
{
    static const struct {
        const char *name, *value, *key, *wanted;
    } cases[] = {
        {"EMBAR_BATCH_SIZE", "4MiB", "batch.size", "4MiB"},
        {"EMBAR_BATCH_IN_FLIGHT", "3", "batch.in_flight", "3"},
        {"EMBAR_BUFFER_NUMA_NODE", "0", "buffer.numa_node", "0"},
        {"EMBAR_DEMO_MODE", "slow", "demo.mode", "slow"},
        {"EMBAR_DEMO_NAMES", "x,y", "demo.names", "x,y"},
        {"EMBAR_STREAM", "", "stream", ""},
        {"EMBAR_STREAM", "a=b", "stream", "a=b"},
        {"EMBAR_USE_HUGETLB", "1", "hugepages", "require"},
        {"EMBAR_USE_HUGETLB", "0", "hugepages", "never"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = fresh_config();

        setenv(cases[i].name, cases[i].value, 1);
        assert_int_equal(embar_config_load_env(config, NULL), 0);
        unsetenv(cases[i].name);
        assert_setting(config, cases[i].key, cases[i].wanted);
        embar_config_destroy(config);
    }
    (void)state;
}

static void test_env_hugetlb_variable_is_stronger_than_a_file_and_weaker_than_an_assignment(
    void **state)
{
    struct embar_config *config = fresh_config();

    setenv("EMBAR_USE_HUGETLB", "0", 1);
    assert_int_equal(embar_config_load_env(config, NULL), 0);
    unsetenv("EMBAR_USE_HUGETLB");
    read_good(config, "hugepages: require");
    assert_setting(config, "hugepages", "never");
    set_good(config, "hugepages=prefer");
    assert_setting(config, "hugepages", "prefer");
    embar_config_destroy(config);
    (void)state;
}

static void test_env_names_of_scripts_and_other_programs_are_left_alone(void **state)
{
    static const char *const names[] = {
        "EMBAR_LAB",    "EMBAR_LAB_BATCH_SIZE", "EMBAR_TEST_X", "EMBAR_BIN",
        "EMBAR_SOURCE", "EMBARK_UPON",          "MY_EMBAR_ACK", "embar_ack"};
    struct embar_config *config = fresh_config(), *untouched = fresh_config();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char before[512] = "";
        const char *old = getenv(names[i]);

        if (old != NULL)
            snprintf(before, sizeof(before), "%s", old);
        setenv(names[i], "anything", 1);
        assert_int_equal(embar_config_load_env(config, NULL), 0);
        if (old != NULL)
            setenv(names[i], before, 1);
        else
            unsetenv(names[i]);
    }
    assert_same_settings(config, untouched);
    embar_config_destroy(untouched);
    embar_config_destroy(config);
    (void)state;
}

static void test_env_refuses_with_the_variable_named(void **state)
{
    static const struct {
        const char *name, *value, *begin, *parts[4];
    } cases[] = {
        {"EMBAR_BATCH_SIZE",
         "big",
         "environment EMBAR_BATCH_SIZE: batch.size: 'big'",
         {"4KiB .. 1GiB"}},
        {"EMBAR_BATCH_SIZE", "", "environment EMBAR_BATCH_SIZE: batch.size: ''", {"4KiB .. 1GiB"}},
        {"EMBAR_STREAM", "a\nb", "environment EMBAR_STREAM: ", {"more than one line"}},
        {"EMBAR_BATCH_SISE", "4MiB", "environment EMBAR_BATCH_SISE: ", {"mean EMBAR_BATCH_SIZE?"}},
        {"EMBAR_DEMO_MODES", "x", "environment EMBAR_DEMO_MODES: ", {"mean EMBAR_DEMO_MODE?"}},
        {"EMBAR_QXZ_PLUGH_WALDO", "x", "environment EMBAR_QXZ_PLUGH_WALDO: ", {"embar-config(5)"}},
        {"EMBAR_", "x", "environment EMBAR_: ", {"no key"}},
        {"EMBAR_BINS", "x", "environment EMBAR_BINS: ", {"no key"}},
        {"EMBAR_batch_size", "4MiB", "environment EMBAR_batch_size: ", {"no key"}},
        {"EMBAR_BATCH.SIZE", "4MiB", "environment EMBAR_BATCH.SIZE: ", {"mean EMBAR_BATCH_SIZE?"}},
        {"EMBAR_USE_HUGETLB", "yes", "environment EMBAR_USE_HUGETLB: 'yes'", {"1", "0"}},
        {"EMBAR_USE_HUGETLB", "", "environment EMBAR_USE_HUGETLB: ''", {"1", "0"}},
        {"EMBAR_USE_HUGETLB", "10", "environment EMBAR_USE_HUGETLB: '10'", {"1", "0"}},
    };
    struct embar_config *config = fresh_config(), *untouched = fresh_config();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_diag diag = {0};

        setenv(cases[i].name, cases[i].value, 1);
        setenv("EMBAR_ACK", "sent", 1);
        assert_int_equal(embar_config_load_env(config, &diag), -EINVAL);
        unsetenv("EMBAR_ACK");
        unsetenv(cases[i].name);
        assert_sentence(&diag, cases[i].begin, cases[i].parts);
        assert_same_settings(config, untouched);
    }
    embar_config_destroy(untouched);
    embar_config_destroy(config);
    (void)state;
}

static void test_env_refuses_two_variables_for_hugepages(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};

    setenv("EMBAR_USE_HUGETLB", "1", 1);
    setenv("EMBAR_HUGEPAGES", "require", 1);
    assert_int_equal(embar_config_load_env(config, &diag), -EINVAL);
    unsetenv("EMBAR_USE_HUGETLB");
    unsetenv("EMBAR_HUGEPAGES");
    assert_sentence(&diag, "environment EMBAR_",
                    (const char *const[]){"EMBAR_USE_HUGETLB", "EMBAR_HUGEPAGES", "twice", NULL});
    embar_config_destroy(config);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_has_a_variable_of_its_own_for_every_key),
        cmocka_unit_test(test_env_variable_sets_its_key),
        cmocka_unit_test(
            test_env_hugetlb_variable_is_stronger_than_a_file_and_weaker_than_an_assignment),
        cmocka_unit_test(test_env_names_of_scripts_and_other_programs_are_left_alone),
        cmocka_unit_test(test_env_refuses_with_the_variable_named),
        cmocka_unit_test(test_env_refuses_two_variables_for_hugepages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
