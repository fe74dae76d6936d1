/*
 * Printing a configuration: what is printed is read back equal and says where it came from, and
 * every key is described. One thread.
 */
#include "support/config_fixture.h"

static void test_config_printed_is_read_back_equal(void **state)
{
    static const char *const odd[] = {
        "demo.label=",
        "demo.label=null",
        "demo.label=~",
        "demo.label=a: b # c",
        "demo.label=\"q\\\"",
        "demo.label='",
        "demo.label= x ",
        "demo.label=- a",
        "demo.label=-",
        "demo.label=---",
        "demo.label=...",
        "demo.label=[a",
        "demo.label={",
        "demo.label=&a",
        "demo.label=*a",
        "demo.label=!t",
        "demo.label=|",
        "demo.label=>",
        "demo.label=%a",
        "demo.label=@",
        "demo.label=`",
        "demo.label=a:",
        "demo.label=:a",
        "demo.label=\xc3\xa9",
        "demo.label=\xf0\x9f\x94\xa5",
        "demo.names=",
        "demo.names=one",
        "demo.names=[::1]:9,b:2",
        "demo.names=\",\\",
        "demo.names=null,~,-",
        "demo.level=-5",
        "demo.room=4097",
        "demo.pause=0",
        "publisher.listen=[::]:0",
        "subscriber.connect=a:1,[::1]:2",
        "transport=demo,tcp",
    };

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct embar_config *config = fresh_config(), *again = fresh_config();
        char *text;

        set_good(config, odd[i]);
        text = printed(config);
        read_good(again, text);
        assert_same_settings(config, again);
        free(text);
        embar_config_destroy(again);
        embar_config_destroy(config);
    }
    (void)state;
}

/* Prints, and finds each of the lines. */
static void assert_printed(const struct embar_config *config, const char *const *lines,
                           size_t count)
{
    char *text = printed(config);

    for (size_t i = 0; i < count; i++) {
        if (strstr(text, lines[i]) == NULL)
            fail_msg("no '%s' in '%s'", lines[i], text);
    }
    free(text);
}

static void test_config_printed_says_where_each_value_came_from(void **state)
{
    static const char *const lines[] = {
        "\nstream: s                                # f.yaml:2\n",
        "\n  connect: \"\"                            # replaced by publisher.listen\n",
        "\n  listen: a:1                            # f.yaml:3\n",
        "\nack: placed                              # environment EMBAR_ACK\n",
        "\n  names: [x, y]                          # command line\n",
        "\nprogress: adaptive                       # default\n",
    };
    static const char *const back[] = {
        "\n  connect: [\"b:2\", \"c:3\"]                # command line\n",
        "\n  listen: \"\"                             # replaced by publisher.connect\n",
    };
    struct embar_config *config = fresh_config();

    read_good(config, "\nstream: s\npublisher: {listen: 'a:1'}\n");
    load_env(config, "EMBAR_ACK", "placed");
    set_good(config, "demo.names=x,y");
    assert_printed(config, lines, sizeof(lines) / sizeof(lines[0]));
    /* The replaced one comes back, and then the other is the replaced one. */
    set_good(config, "publisher.connect=b:2,c:3");
    assert_printed(config, back, sizeof(back) / sizeof(back[0]));
    embar_config_destroy(config);
    (void)state;
}

static void test_config_printed_to_a_full_device_is_an_error(void **state)
{
    struct embar_config *config = fresh_config();
    FILE *full = fopen("/dev/full", "w");

    assert_non_null(full);
    assert_int_equal(embar_config_print(config, full), -EIO);
    fclose(full);
    full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(embar_config_describe(full), -EIO);
    fclose(full);
    embar_config_destroy(config);
    (void)state;
}

static void test_config_describes_every_key_with_default_and_range(void **state)
{
    struct embar_config *config = fresh_config();
    const struct option_table *table = config_options(config);
    char *text = NULL, room[EMBAR_DIAG_BYTES / 2];
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(embar_config_describe(out), 0);
    fclose(out);
    for (size_t i = 0; i < table->count; i++) {
        char accepts[EMBAR_DIAG_BYTES / 2], line[EMBAR_DIAG_BYTES];

        snprintf(line, sizeof(line), "    %s=%s  (%s)\n", table->options[i].key,
                 table->options[i].default_value,
                 config_accepts(&table->options[i], accepts, sizeof(accepts)));
        if (strstr(text, line) == NULL)
            fail_msg("no line '%s'", line);
    }
    assert_non_null(strstr(text, "batch.size=2MiB  (4KiB .. 1GiB)"));
    /* A size says its units itself. */
    option_accepts(option_find(table, "demo.room"), room, sizeof(room));
    strcat(room, ")\n");
    assert_non_null(strstr(text, room));
    assert_non_null(strstr(text, "publisher.connect=127.0.0.1:9400  (a list of HOST:PORT)"));
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(text);
    embar_config_destroy(config);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_printed_is_read_back_equal),
        cmocka_unit_test(test_config_printed_says_where_each_value_came_from),
        cmocka_unit_test(test_config_printed_to_a_full_device_is_an_error),
        cmocka_unit_test(test_config_describes_every_key_with_default_and_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
