/* Option tables: every type is read strictly, printed so that it reads back, and refused in words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/option.h"

struct target {
    bool yes;
    int64_t number, any_number;
    uint64_t size, any_size;
    uint64_t time, any_time;
    int mode;
    char text[OPTION_STRING_BYTES];
    char list[OPTION_LIST_BYTES];
};

static const char *const modes[] = {"auto", "zerocopy", "copy", NULL};

#define AT(field) .offset = offsetof(struct target, field)
static const struct option options[] = {
    {.key = "demo.yes", .type = OPTION_BOOL, AT(yes), .default_value = "true"},
    {.key = "demo.number",
     .type = OPTION_INT,
     AT(number),
     .default_value = "1",
     .min = (uint64_t)-1,
     .max = 16},
    {.key = "demo.any_number", .type = OPTION_INT, AT(any_number), .default_value = "0"},
    {.key = "batch.size",
     .type = OPTION_SIZE,
     AT(size),
     .default_value = "2MiB",
     .min = 4096,
     .max = 1 << 30},
    {.key = "demo.any_size", .type = OPTION_SIZE, AT(any_size), .default_value = "0"},
    {.key = "batch.linger",
     .type = OPTION_DURATION,
     AT(time),
     .default_value = "1ms",
     .max = 10000000000},
    {.key = "demo.any_time", .type = OPTION_DURATION, AT(any_time), .default_value = "0"},
    {.key = "tcp.send_mode",
     .type = OPTION_ENUM,
     AT(mode),
     .default_value = "copy",
     .choices = modes},
    {.key = "demo.text", .type = OPTION_STRING, AT(text), .default_value = "hello"},
    {.key = "demo.list", .type = OPTION_LIST, AT(list), .default_value = "a,b"},
};
static const struct option_table table = {options, sizeof(options) / sizeof(options[0])};

static struct target target;

static int fill_in_defaults(void **state)
{
    (void)state;
    memset(&target, 0, sizeof(target));
    option_defaults(&table, &target);
    return 0;
}

/* Takes the value, which prints as given. */
static void take(const char *key, const char *value, const char *printed)
{
    struct embar_diag diag = {0};
    char text[OPTION_LIST_BYTES];

    assert_int_equal(option_set(&table, key, value, &target, &diag), 0);
    assert_int_equal(diag.error, 0);
    assert_string_equal(option_format(option_find(&table, key), &target, text, sizeof(text)),
                        printed);
}

/* Refuses the value with this sentence, and leaves the target alone. */
static void refuse(const char *key, const char *value, const char *sentence)
{
    struct embar_diag diag = {0};
    struct target before = target;

    assert_int_equal(option_set(&table, key, value, &target, &diag), -EINVAL);
    assert_string_equal(diag.text, sentence);
    assert_int_equal(diag.error, EINVAL);
    assert_memory_equal(&target, &before, sizeof(target));
    assert_int_equal(option_set(&table, key, value, &target, NULL), -EINVAL);
}

static void test_option_defaults_fill_every_type(void **state)
{
    (void)state;
    assert_true(target.yes);
    assert_int_equal(target.number, 1);
    assert_int_equal(target.size, 2 << 20);
    assert_int_equal(target.time, 1000000);
    assert_int_equal(target.mode, 2);
    assert_string_equal(target.text, "hello");
    assert_string_equal(target.list, "a,b");
}

static void test_option_find_knows_whole_keys_only(void **state)
{
    (void)state;
    assert_ptr_equal(option_find(&table, "batch.size"), &options[3]);
    assert_null(option_find(&table, "batch.siz"));
    assert_null(option_find(&table, "batch.size "));
    assert_null(option_find(&table, ""));
}

static void test_option_bool_is_true_or_false(void **state)
{
    (void)state;
    take("demo.yes", "false", "false");
    assert_false(target.yes);
    take("demo.yes", "true", "true");
    refuse("demo.yes", "yes", "demo.yes: 'yes' is neither true nor false; write true | false");
    refuse("demo.yes", "TRUE", "demo.yes: 'TRUE' is neither true nor false; write true | false");
    refuse("demo.yes", "1", "demo.yes: '1' is neither true nor false; write true | false");
}

static void test_option_int_is_bounded_on_both_sides(void **state)
{
    (void)state;
    take("demo.number", "-1", "-1");
    take("demo.number", "16", "16");
    assert_int_equal(target.number, 16);
    refuse("demo.number", "17", "demo.number: '17' is out of range; write -1 .. 16");
    refuse("demo.number", "-2", "demo.number: '-2' is out of range; write -1 .. 16");
}

static void test_option_int_takes_all_of_64_bits_and_nothing_else(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "1.5",
                                      "0x10",
                                      "1e3",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "ten",
                                      "9223372036854775808",
                                      "-9223372036854775809"};

    (void)state;
    take("demo.any_number", "9223372036854775807", "9223372036854775807");
    take("demo.any_number", "-9223372036854775808", "-9223372036854775808");
    assert_true(target.any_number == INT64_MIN);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char sentence[200];
        snprintf(sentence, sizeof(sentence),
                 "demo.any_number: '%s' is not a whole number; write a whole number", bad[i]);
        refuse("demo.any_number", bad[i], sentence);
    }
}

static void test_option_size_knows_its_units(void **state)
{
    (void)state;
    take("batch.size", "4096", "4KiB");
    take("batch.size", "4097", "4097");
    take("batch.size", "4KiB", "4KiB");
    take("batch.size", "2MiB", "2MiB");
    assert_int_equal(target.size, 2 << 20);
    take("batch.size", "2 MiB", "2MiB");
    take("batch.size", "1GiB", "1GiB");
    take("batch.size", "1536KiB", "1536KiB");
    take("demo.any_size", "0", "0");
    take("demo.any_size", "18446744073709551615", "18446744073709551615");
}

static void test_option_size_without_sense_is_refused(void **state)
{
    static const char *const bad[] = {
        "3 parsecs",     "2MB",  "2M", "MiB",   "-1",
        "1.5MiB",        "2mib", "",   "2MiB ", "18446744073709551616",
        "17179869184GiB"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char sentence[200];
        snprintf(sentence, sizeof(sentence),
                 "demo.any_size: '%s' is not a size; write a number of bytes or with KiB, MiB, GiB",
                 bad[i]);
        refuse("demo.any_size", bad[i], sentence);
    }
    refuse("batch.size", "3 parsecs",
           "batch.size: '3 parsecs' is not a size; write a number of bytes or with KiB, MiB, GiB, "
           "4KiB .. 1GiB");
    refuse("batch.size", "2KiB", "batch.size: '2KiB' is out of range; write 4KiB .. 1GiB");
    refuse("batch.size", "2GiB", "batch.size: '2GiB' is out of range; write 4KiB .. 1GiB");
}

static void test_option_duration_needs_its_unit(void **state)
{
    (void)state;
    take("demo.any_time", "250us", "250us");
    assert_int_equal(target.any_time, 250000);
    take("demo.any_time", "5ms", "5ms");
    take("demo.any_time", "5000us", "5ms");
    take("demo.any_time", "90 s", "90s");
    take("demo.any_time", "0", "0");
    take("demo.any_time", "0s", "0");
    refuse("demo.any_time", "5",
           "demo.any_time: '5' is not a time; write a number with us, ms or s");
    refuse("demo.any_time", "5m",
           "demo.any_time: '5m' is not a time; write a number with us, ms or s");
    refuse("demo.any_time", "18446744074s",
           "demo.any_time: '18446744074s' is not a time; write a number with us, ms or s");
    refuse("batch.linger", "11s", "batch.linger: '11s' is out of range; write 0 .. 10s");
}

static void test_option_enum_is_one_of_its_choices(void **state)
{
    (void)state;
    take("tcp.send_mode", "auto", "auto");
    take("tcp.send_mode", "zerocopy", "zerocopy");
    assert_int_equal(target.mode, 1);
    refuse("tcp.send_mode", "zero",
           "tcp.send_mode: 'zero' is not a choice; write auto | zerocopy | copy");
    refuse("tcp.send_mode", "", "tcp.send_mode: '' is not a choice; write auto | zerocopy | copy");
}

static void test_option_string_is_kept_as_it_is_up_to_its_room(void **state)
{
    char longest[OPTION_STRING_BYTES + 1];
    struct embar_diag diag = {0};

    (void)state;
    take("demo.text", " a b ", " a b ");
    take("demo.text", "", "");
    refuse("demo.text", "a\nb",
           "demo.text: 'a?b' has a control character; write text of at most 127 bytes");
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(option_set(&table, "demo.text", longest, &target, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "is too long; write text of at most 127 bytes"));
    longest[OPTION_STRING_BYTES - 1] = '\0';
    take("demo.text", longest, longest);
}

static void test_option_list_drops_blanks_around_items(void **state)
{
    (void)state;
    take("demo.list", "shm, rdma ,tcp", "shm,rdma,tcp");
    take("demo.list", "  one  ", "one");
    take("demo.list", "a b,c", "a b,c");
    take("demo.list", "", "");
    take("demo.list", "   ", "");
}

static void test_option_list_with_an_empty_item_is_refused(void **state)
{
    static const char *const bad[] = {",", "a,", ",a", "a,,b", "a, ,b"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char sentence[200];
        snprintf(sentence, sizeof(sentence),
                 "demo.list: '%s' has an empty item; write items separated by commas, at most 1023 "
                 "bytes in all",
                 bad[i]);
        refuse("demo.list", bad[i], sentence);
    }
}

static void test_option_list_fits_up_to_its_last_byte(void **state)
{
    char longest[OPTION_LIST_BYTES + 1];
    struct embar_diag diag = {0};

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[500] = ',';
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(option_set(&table, "demo.list", longest, &target, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "is too long"));
    longest[OPTION_LIST_BYTES - 1] = '\0';
    take("demo.list", longest, longest);
}

static void suggest(const char *key, const char *sentence)
{
    struct embar_diag diag = {0};
    struct target before = target;

    assert_int_equal(option_set(&table, key, "1", &target, &diag), -ENOENT);
    assert_int_equal(diag.error, ENOENT);
    assert_string_equal(diag.text, sentence);
    assert_memory_equal(&target, &before, sizeof(target));
}

static void test_option_unknown_key_suggests_the_nearest(void **state)
{
    (void)state;
    suggest("batch.sise", "unknown key 'batch.sise'; did you mean 'batch.size'?");
    suggest("bacth.size", "unknown key 'bacth.size'; did you mean 'batch.size'?");
    suggest("batch.lingr", "unknown key 'batch.lingr'; did you mean 'batch.linger'?");
    suggest("tcp.sendmode", "unknown key 'tcp.sendmode'; did you mean 'tcp.send_mode'?");
    suggest("send_mode", "unknown key 'send_mode'; did you mean 'tcp.send_mode'?");
}

static void test_option_unknown_key_unlike_any_gets_no_suggestion(void **state)
{
    char longest[300];

    (void)state;
    suggest("colour", "unknown key 'colour'; embar-config(5) lists all keys");
    suggest("subscriber.name", "unknown key 'subscriber.name'; embar-config(5) lists all keys");
    suggest("", "unknown key ''; embar-config(5) lists all keys");
    suggest(".", "unknown key '.'; embar-config(5) lists all keys");
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    unsigned distance = 99;
    assert_null(option_nearest(&table, longest, &distance));
    assert_int_equal(distance, 99);
}

static void test_option_nearest_counts_swaps_as_one(void **state)
{
    unsigned distance = 99;

    (void)state;
    assert_ptr_equal(option_nearest(&table, "batch.size", &distance), &options[3]);
    assert_int_equal(distance, 0);
    option_nearest(&table, "btach.size", &distance);
    assert_int_equal(distance, 1);
    option_nearest(&table, "btach.siz", &distance);
    assert_int_equal(distance, 2);
}

static void test_option_says_what_it_accepts(void **state)
{
    static const char *const words[] = {"true | false",
                                        "-1 .. 16",
                                        "a whole number",
                                        "4KiB .. 1GiB",
                                        "a number of bytes or with KiB, MiB, GiB",
                                        "0 .. 10s",
                                        "a number with us, ms or s",
                                        "auto | zerocopy | copy",
                                        "text of at most 127 bytes",
                                        "items separated by commas, at most 1023 bytes in all"};
    char text[100];

    (void)state;
    for (size_t i = 0; i < table.count; i++)
        assert_string_equal(option_accepts(&options[i], text, sizeof(text)), words[i]);
    /* Cut to the room there is. */
    assert_string_equal(option_accepts(&options[7], text, 8), "auto | ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, fill_in_defaults)
        TEST(test_option_defaults_fill_every_type),
        TEST(test_option_find_knows_whole_keys_only),
        TEST(test_option_bool_is_true_or_false),
        TEST(test_option_int_is_bounded_on_both_sides),
        TEST(test_option_int_takes_all_of_64_bits_and_nothing_else),
        TEST(test_option_size_knows_its_units),
        TEST(test_option_size_without_sense_is_refused),
        TEST(test_option_duration_needs_its_unit),
        TEST(test_option_enum_is_one_of_its_choices),
        TEST(test_option_string_is_kept_as_it_is_up_to_its_room),
        TEST(test_option_list_drops_blanks_around_items),
        TEST(test_option_list_with_an_empty_item_is_refused),
        TEST(test_option_list_fits_up_to_its_last_byte),
        TEST(test_option_unknown_key_suggests_the_nearest),
        TEST(test_option_unknown_key_unlike_any_gets_no_suggestion),
        TEST(test_option_nearest_counts_swaps_as_one),
        TEST(test_option_says_what_it_accepts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
