/*
 * The grammar of configuration files: what is read, what is refused with which sentence at which
 * place, and the files that are shipped. One thread; files are made under the temporary folder.
 */
#include "support/config_fixture.h"

static void test_yaml_forms_that_mean_the_same_are_read_alike(void **state)
{
    static const struct {
        const char *yaml, *key, *value;
    } cases[] = {
        {"batch:\n  size: 4MiB\n", "batch.size", "4MiB"},
        {"batch: {size: 4MiB}", "batch.size", "4MiB"},
        {"batch.size: 4MiB", "batch.size", "4MiB"},
        {"{batch.size: 4MiB}", "batch.size", "4MiB"},
        {"\"batch.size\": '4MiB'", "batch.size", "4MiB"},
        {"%YAML 1.1\n---\nbatch.size: 4MiB\n...\n", "batch.size", "4MiB"},
        {"\xef\xbb\xbf"
         "batch.size: 4MiB",
         "batch.size", "4MiB"}, /* a byte order mark */
        {"batch.size: 4MiB\r\nack: sent\r\n", "batch.size", "4MiB"},
        {"batch.size: 4MiB # and a comment", "batch.size", "4MiB"},
        {"batch: {size: 4MiB}\nbatch.linger: 1ms", "batch.linger", "1ms"},
        {"? batch.size\n: 4MiB", "batch.size", "4MiB"},
        {"batch: {}", "batch.size", "2MiB"},
        {"{}", "batch.size", "2MiB"},
        {"stream: 'null'", "stream", "null"},
        {"stream: ''", "stream", ""},
        {"stream: >-\n  a\n  b\n", "stream", "a b"},
        {"stream: h\xc3\xa9", "stream", "h\xc3\xa9"},
        {"demo.names: [x, y]", "demo.names", "x,y"},
        {"demo.names:\n- x\n- y\n", "demo.names", "x,y"},
        {"demo.names: x, y", "demo.names", "x,y"},
        {"demo.names: x", "demo.names", "x"},
        {"demo.names: []", "demo.names", ""},
        {"demo.names: ''", "demo.names", ""},
        {"publisher:\n  connect: [a:1, \"[::1]:2\"]\n", "publisher.connect", "a:1,[::1]:2"},
        {"transport: [shm, rdma, tcp]", "transport", "shm,rdma,tcp"},
        {"demo.level: -5", "demo.level", "-5"},
        {"demo.quick: true", "demo.quick", "true"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = fresh_config();

        read_good(config, cases[i].yaml);
        assert_setting(config, cases[i].key, cases[i].value);
        embar_config_destroy(config);
    }
    (void)state;
}

struct refusal {
    const char *yaml;
    const char *begin;    /* the place, and what the sentence begins with */
    const char *parts[4]; /* what else it holds */
};

/* Each is refused with its sentence, and nothing of it is taken. */
static void expect_refusals(const struct refusal *cases, size_t count)
{
    struct embar_config *untouched = fresh_config();

    for (size_t i = 0; i < count; i++) {
        struct embar_config *config = fresh_config();
        struct embar_diag diag = {0};
        int rc = read_text(config, cases[i].yaml, &diag);

        if (rc != -EINVAL)
            fail_msg("'%s' ended in %d", cases[i].yaml, rc);
        assert_int_equal(diag.error, EINVAL);
        assert_sentence(&diag, cases[i].begin, cases[i].parts);
        assert_same_settings(config, untouched);
        embar_config_destroy(config);
    }
    embar_config_destroy(untouched);
}

static void test_yaml_keys_unknown_or_given_twice_are_refused_at_their_place(void **state)
{
    static const struct refusal cases[] = {
        {"steam: a", "f.yaml:1:1: unknown key 'steam'", {"'stream'"}},
        {"ack: sent\nbatch:\n  sise: 1MiB\n",
         "f.yaml:3:3: unknown key 'batch.sise'",
         {"'batch.size'"}},
        {"btach: {size: 4MiB}", "f.yaml:1:9: unknown key 'btach.size'", {"'batch.size'"}},
        {"btach: {}", "f.yaml:1:1: unknown key 'btach'", {0}},
        {"btach: [a]", "f.yaml:1:1: unknown key 'btach'", {0}},
        {"btach:", "f.yaml:1:1: unknown key 'btach'", {0}},
        {"Ack: sent", "f.yaml:1:1: unknown key 'Ack'", {"'ack'"}},
        {"'': a", "f.yaml:1:1: unknown key ''", {0}},
        {"batch: {'': a}", "f.yaml:1:9: unknown key 'batch.'", {0}},
        {"batch.: a", "f.yaml:1:1: unknown key 'batch.'", {0}},
        {"<<: {ack: sent}", "f.yaml:1:6: unknown key '<<.ack'", {0}},
        {"\"a\\nb\": c", "f.yaml:1:1: a key has more than one line", {0}},
        {"\"a\\0b\": c", "f.yaml:1:1: a key holds a character", {0}},
        {"? [a]\n: b", "f.yaml:1:3: a key must be a plain word", {0}},
        {"ack: sent\nack: sent\n", "f.yaml:2:1: ack is given twice", {"f.yaml:1"}},
        {"batch.size: 4MiB\nbatch:\n  size: 4MiB\n",
         "f.yaml:3:3: batch.size is given twice",
         {"f.yaml:1"}},
        {"batch: {size: 4MiB}\nack: sent\nbatch: {linger: 1ms}\n",
         "f.yaml:3:1: batch is given twice",
         {"line 1"}},
    };

    expect_refusals(cases, sizeof(cases) / sizeof(cases[0]));
    (void)state;
}

static void test_yaml_values_of_the_wrong_kind_are_refused_with_what_is_accepted(void **state)
{
    static const struct refusal cases[] = {
        {"ack:", "f.yaml:1:5: ack has no value", {"sent | placed | consumed"}},
        {"ack: ~", "f.yaml:1:6: ack has no value", {0}},
        {"ack: null", "f.yaml:1:6: ack has no value", {0}},
        {"stream: NULL", "f.yaml:1:9: stream has no value", {0}},
        {"batch:\n  size:\n", "f.yaml:2:8: batch.size has no value", {"4KiB .. 1GiB"}},
        {"batch:", "f.yaml:1:7: batch has no value", {"group of keys"}},
        {"batch: 4MiB", "f.yaml:1:8: batch is given the value '4MiB'", {"group of keys"}},
        {"batch: [4MiB]", "f.yaml:1:8: batch is given a list", {"group of keys"}},
        {"ack: {a: b}", "f.yaml:1:6: ack is given a group of keys", {"sent | placed"}},
        {"batch.size: {a: b}", "f.yaml:1:13: batch.size is given a group", {"4KiB .. 1GiB"}},
        {"ack: [sent]", "f.yaml:1:6: ack is given a list", {"sent | placed | consumed"}},
        {"ack: later", "f.yaml:1:6: ack: 'later'", {"sent | placed | consumed"}},
        {"batch.size: 3 parsecs", "f.yaml:1:13: batch.size: '3 parsecs'", {"4KiB .. 1GiB"}},
        {"batch.size: 2GiB", "f.yaml:1:13: batch.size: '2GiB'", {"4KiB .. 1GiB"}},
        {"batch.size: 4095", "f.yaml:1:13: batch.size: '4095'", {"4KiB .. 1GiB"}},
        {"batch.size: -1", "f.yaml:1:13: batch.size: '-1'", {"4KiB .. 1GiB"}},
        {"batch.size: 99999999999999999999GiB",
         "f.yaml:1:13: batch.size: '99999",
         {"4KiB .. 1GiB"}},
        {"batch.size: 1.5MiB", "f.yaml:1:13: batch.size: '1.5MiB'", {"4KiB .. 1GiB"}},
        {"batch.linger: 5", "f.yaml:1:15: batch.linger: '5'", {"ms or s"}},
        {"batch.linger: 61s", "f.yaml:1:15: batch.linger: '61s'", {"0 .. 60s"}},
        {"batch.in_flight: 0", "f.yaml:1:18: batch.in_flight: '0'", {"1 .. 65536"}},
        {"batch.in_flight: many", "f.yaml:1:18: batch.in_flight: 'many'", {"1 .. 65536"}},
        {"buffer.numa_node: -2", "f.yaml:1:19: buffer.numa_node: '-2'", {"-1 .. 1023"}},
        {"demo.quick: yes", "f.yaml:1:13: demo.quick: 'yes'", {"true | false"}},
        {"stream: \"a\\nb\"", "f.yaml:1:9: the value of stream has more than one line", {0}},
        {"stream: \"a\\0b\"", "f.yaml:1:9: the value of stream holds a character", {0}},
        {"stream: |\n  a\n", "f.yaml:1:9: the value of stream has more than one line", {0}},
        {"demo.names: [a, ~]", "f.yaml:1:17: demo.names has an item without a value", {0}},
        {"demo.names: [a, '']", "f.yaml:1:17: demo.names has an item without a value", {0}},
        {"demo.names:\n- a\n-\n", "f.yaml:3:2: demo.names has an item without a value", {0}},
        {"demo.names: [a, [b]]", "f.yaml:1:17: demo.names has an item that is not", {"list of"}},
        {"demo.names: [a, {b: c}]", "f.yaml:1:17: demo.names has an item that is not", {0}},
        {"demo.names: ['a,b']", "f.yaml:1:14: demo.names has the item 'a,b'", {"comma"}},
        {"demo.names: [\"a\\0b\"]",
         "f.yaml:1:14: demo.names has the item 'a'",
         {"cannot be printed"}},
        {"demo.names: [\"a\\nb\"]", "f.yaml:1:14: demo.names has the item", {"more than one line"}},
        {"demo.names: 'a,,b'", "f.yaml:1:13: demo.names: 'a,,b'", {"empty item"}},
    };

    expect_refusals(cases, sizeof(cases) / sizeof(cases[0]));
    (void)state;
}

static void test_yaml_beyond_one_plain_mapping_is_refused(void **state)
{
    static const struct refusal cases[] = {
        {"", "f.yaml:1:1: the file is empty", {"{}"}},
        {"# nothing\n", "f.yaml:2:1: the file is empty", {0}},
        {"--- \n...\n", "f.yaml:2:1: the file is not a mapping", {0}},
        {"hello", "f.yaml:1:1: the file is not a mapping", {0}},
        {"- ack", "f.yaml:1:1: the file is not a mapping", {0}},
        {"ack: sent\n---\nack: sent\n", "f.yaml:2:1: a second document", {0}},
        {"stream: &a x", "f.yaml:1:9: anchors are not accepted", {0}},
        {"batch: &a {}", "f.yaml:1:8: anchors are not accepted", {0}},
        {"demo.names: &a [x]", "f.yaml:1:13: anchors are not accepted", {0}},
        {"&a ack: sent", "f.yaml:1:1: anchors are not accepted", {0}},
        {"stream: *a", "f.yaml:1:9: aliases are not accepted", {0}},
        {"stream: !!str x", "f.yaml:1:9: tags are not accepted", {"str"}},
        {"stream: ! x", "f.yaml:1:9: tags are not accepted", {0}},
        {"!t {ack: sent}", "f.yaml:1:1: tags are not accepted", {"!t"}},
        {"demo.names: [!!str x]", "f.yaml:1:14: tags are not accepted", {0}},
        {"a: {b: {c: {d: {}}}}", "f.yaml:1:16: groups of keys are nested more than 4 deep", {0}},
        {"ack: [sent", "f.yaml:1:6: ack is given a list", {0}},
        {"stream: a\n  ack: sent\n", "f.yaml:2:6: not valid YAML: mapping values", {0}},
        {"stream: 'a\n", "f.yaml:2:1: not valid YAML:", {"end of stream", "quoted scalar"}},
        {"\tack: sent", "f.yaml:1:1: not valid YAML:", {0}},
        {"stream: a\nack: \x01\n", "f.yaml:2:6: not a text in UTF-8", {"control"}},
        {"stream: a\nack: \xff\n", "f.yaml:2:6: not a text in UTF-8", {0}},
    };

    expect_refusals(cases, sizeof(cases) / sizeof(cases[0]));
    (void)state;
}

/* A backend of the design that this build lacks; NULL: it has them all. */
static const char *lacking_backend(void)
{
    for (unsigned i = 0; registry_designed(i) != NULL; i++)
        if (registry_missing(registry_designed(i)) != NULL)
            return registry_designed(i);
    return NULL;
}

static void test_yaml_keys_of_a_backend_that_the_build_lacks_are_left_out(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};
    const char *lacking = lacking_backend();
    char yaml[256];

    snprintf(yaml, sizeof(yaml), "%s: {a: 1, b: [x, {c: }]}\nstream: s\n%s.d: [~]\n%s.e: f\n",
             lacking, lacking, lacking);
    read_good(config, yaml);
    assert_setting(config, "stream", "s");
    snprintf(yaml, sizeof(yaml), "stream: t\n%s: {a: {b: {c: {d: e}}}}\n", lacking);
    assert_int_equal(read_text(config, yaml, &diag), -EINVAL);
    snprintf(yaml, sizeof(yaml), "stream: t\n%s.a: &b c\n", lacking);
    assert_int_equal(read_text(config, yaml, &diag), -EINVAL);
    assert_setting(config, "stream", "s");
    embar_config_destroy(config);
    (void)state;
}

static void test_yaml_names_and_lists_of_any_length_are_bounded(void **state)
{
    static const struct {
        const char *before, *repeated, *after, *part;
        size_t times;
    } cases[] = {
        {"", "k", ": a", "longer than any", 500},
        {"stream: ", "v", "", "stream: 'vvvv", 500000},
        {"demo.names: [", "item,", "x]", "demo.names is too long", 100000},
        {"demo.level: ", "9", "", "demo.level: '9999", 500000},
        {"", "{a: ", "", "nested more than 4 deep", 1000},
        {"", "[", "", "not a mapping", 500000},
        {"demo.names: ", "[", "", "an item that is not", 400},
        {"", "? ", "", "a key must be", 400},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct embar_config *config = fresh_config();
        struct embar_diag diag = {0};
        char *text = NULL;
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);

        assert_non_null(out);
        fputs(cases[i].before, out);
        for (size_t n = 0; n < cases[i].times; n++)
            fputs(cases[i].repeated, out);
        fputs(cases[i].after, out);
        assert_int_equal(fclose(out), 0);
        assert_int_equal(read_text(config, text, &diag), -EINVAL);
        assert_sentence(&diag, "f.yaml:1:", (const char *const[]){cases[i].part, NULL});
        free(text);
        embar_config_destroy(config);
    }
    (void)state;
}

/* ---- files -------------------------------------------------------------------------------- */

/* Makes a file of `len_bytes` that begins with `text` and goes on with blanks. */
static void make_file(char *path, size_t path_bytes, const char *text, size_t len_bytes)
{
    const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    char *blanks = malloc(len_bytes + 1);
    int fd;

    snprintf(path, path_bytes, "%s/embar-config-XXXXXX", folder);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_non_null(blanks);
    memset(blanks, '\n', len_bytes);
    memcpy(blanks, text, strlen(text));
    assert_int_equal(write(fd, blanks, len_bytes), (ssize_t)len_bytes);
    close(fd);
    free(blanks);
}

static void test_yaml_file_of_up_to_one_mebibyte_is_read(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};
    char path[256];

    make_file(path, sizeof(path), "stream: a\n", 1 << 20);
    assert_int_equal(embar_config_load(config, path, &diag), 0);
    assert_setting(config, "stream", "a");
    unlink(path);
    make_file(path, sizeof(path), "stream: b\n", (1 << 20) + 1);
    assert_int_equal(embar_config_load(config, path, &diag), -EFBIG);
    assert_sentence(&diag, path, (const char *const[]){"1 MiB", NULL});
    assert_setting(config, "stream", "a");
    unlink(path);
    embar_config_destroy(config);
    (void)state;
}

static void test_yaml_file_that_cannot_be_read_says_why(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};

    assert_int_equal(embar_config_load(config, "/nowhere/f.yaml", &diag), -ENOENT);
    assert_sentence(&diag, "/nowhere/f.yaml cannot be opened",
                    (const char *const[]){"No such file", NULL});
    assert_int_equal(embar_config_load(config, "/", &diag), -EISDIR);
    assert_sentence(&diag, "/ cannot be read", (const char *const[]){"directory", NULL});
    assert_int_equal(embar_config_load(config, "/nowhere/f.yaml", NULL), -ENOENT);
    embar_config_destroy(config);
    (void)state;
}

static void test_yaml_error_in_a_file_names_the_file(void **state)
{
    struct embar_config *config = fresh_config();
    struct embar_diag diag = {0};
    char path[256], begin[300];

    make_file(path, sizeof(path), "stream: a\nack: later\n", 32);
    assert_int_equal(embar_config_load(config, path, &diag), -EINVAL);
    snprintf(begin, sizeof(begin), "%s:2:6: ack: 'later'", path);
    assert_sentence(&diag, begin, (const char *const[]){NULL});
    unlink(path);
    embar_config_destroy(config);
    (void)state;
}

/* The folder of the sources, which the test's declaration gives. */
static const char *source_folder(void)
{
    const char *folder = getenv("EMBAR_SOURCE");

    if (folder == NULL)
        skip();
    return folder;
}

static void test_yaml_files_that_are_shipped_are_read_and_hold_together(void **state)
{
    static const char *const names[] = {"embar", "tcp", "rdma", "rxe", "shm"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct embar_config *config = fresh_config();
        struct embar_diag diag = {0};
        char path[512], transport[64];
        int rc;

        snprintf(path, sizeof(path), "%s/config/%s.yaml", source_folder(), names[i]);
        if (embar_config_load(config, path, &diag) != 0)
            fail_msg("%s", diag.text);
        assert_int_equal(embar_config_get(config, "transport", transport, sizeof(transport)), 0);
        rc = embar_config_check(config, &diag);
        if (rc != (registry_missing(transport) != NULL ? -ENOTSUP : 0))
            fail_msg("%s: %s", path, diag.text);
        embar_config_destroy(config);
    }
    (void)state;
}

static void test_yaml_file_of_all_keys_changes_nothing(void **state)
{
    struct embar_config *config = fresh_config(), *untouched = fresh_config();
    char path[512];

    snprintf(path, sizeof(path), "%s/config/embar.yaml", source_folder());
    assert_int_equal(embar_config_load(config, path, NULL), 0);
    assert_same_settings(config, untouched);
    embar_config_destroy(untouched);
    embar_config_destroy(config);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yaml_forms_that_mean_the_same_are_read_alike),
        cmocka_unit_test(test_yaml_keys_unknown_or_given_twice_are_refused_at_their_place),
        cmocka_unit_test(test_yaml_values_of_the_wrong_kind_are_refused_with_what_is_accepted),
        cmocka_unit_test(test_yaml_beyond_one_plain_mapping_is_refused),
        cmocka_unit_test(test_yaml_names_and_lists_of_any_length_are_bounded),
        cmocka_unit_test(test_yaml_file_of_up_to_one_mebibyte_is_read),
        cmocka_unit_test(test_yaml_file_that_cannot_be_read_says_why),
        cmocka_unit_test(test_yaml_error_in_a_file_names_the_file),
        cmocka_unit_test(test_yaml_files_that_are_shipped_are_read_and_hold_together),
        cmocka_unit_test(test_yaml_file_of_all_keys_changes_nothing),
    };

    const struct CMUnitTest of_lacking[] = {
        cmocka_unit_test(test_yaml_keys_of_a_backend_that_the_build_lacks_are_left_out),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    /* tests/install/without_rdma.sh shows the same through the tools of a build that lacks one. */
    if (lacking_backend() != NULL)
        failed += cmocka_run_group_tests(of_lacking, NULL, NULL);
    return failed;
}
