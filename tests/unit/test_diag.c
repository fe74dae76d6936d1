/* The sentence that explains a failure: whole, on one line, cut to fit, and never in the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"

static void test_diag_fail_fills_in_error_and_sentence(void **state)
{
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(diag_fail(&diag, ENOENT, "no %s of %d", "slot", 7), -ENOENT);
    assert_int_equal(diag.error, ENOENT);
    assert_string_equal(diag.text, "no slot of 7");
}

static void test_diag_fail_without_a_diag_returns_the_error(void **state)
{
    (void)state;
    assert_int_equal(diag_fail(NULL, EBUSY, "unheard"), -EBUSY);
}

static void test_diag_fail_may_quote_the_diag_itself(void **state)
{
    struct embar_diag diag = {0};

    (void)state;
    diag_fail(&diag, EIO, "inner");
    diag_fail(&diag, EPROTO, "outer: %s", diag.text);
    assert_string_equal(diag.text, "outer: inner");
    assert_int_equal(diag.error, EPROTO);
}

static void test_diag_cuts_a_long_sentence_to_fit(void **state)
{
    struct embar_diag diag;
    char longer[2 * EMBAR_DIAG_BYTES];

    (void)state;
    memset(&diag, 'x', sizeof(diag));
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    diag_fail(&diag, EINVAL, "%s", longer);
    assert_int_equal(strnlen(diag.text, sizeof(diag.text)), EMBAR_DIAG_BYTES - 1);
}

static void test_diag_cuts_between_characters(void **state)
{
    struct embar_diag diag = {0};
    char longer[2 * EMBAR_DIAG_BYTES];

    (void)state;
    /* Two-byte characters after one single byte: 511 bytes would end in half of one. */
    for (size_t i = 0; i + 2 < sizeof(longer); i += 2)
        memcpy(longer + i, "\xC3\xA4", 2);
    longer[sizeof(longer) - 2] = '\0';
    diag_fail(&diag, EINVAL, "%s", longer);
    assert_int_equal(strlen(diag.text), EMBAR_DIAG_BYTES - 2);
    diag_fail(&diag, EINVAL, "b%s", longer);
    assert_int_equal(strlen(diag.text), EMBAR_DIAG_BYTES - 1);
    diag_fail(&diag, EINVAL, "b\xE2\x82\xAC%s", longer); /* a whole three-byte one in front */
    assert_int_equal(strlen(diag.text), EMBAR_DIAG_BYTES - 2);
}

static void test_diag_keeps_to_one_line(void **state)
{
    struct embar_diag diag = {0};

    (void)state;
    diag_fail(&diag, EINVAL, "peer said '%s'", "a\nb\x1B[31m\x7F\xC3\xA4");
    assert_string_equal(diag.text, "peer said 'a?b?[31m?\xC3\xA4'");
}

static void test_diag_prefix_goes_in_front(void **state)
{
    struct embar_diag diag = {0};

    (void)state;
    diag_fail(&diag, EINVAL, "not a size");
    diag_prefix(&diag, "%s:%d", "embar.yaml", 3);
    assert_string_equal(diag.text, "embar.yaml:3: not a size");
    assert_int_equal(diag.error, EINVAL);
    diag_prefix(NULL, "nowhere");
}

static void test_diag_prefix_cuts_the_end(void **state)
{
    struct embar_diag diag = {0};
    char longer[EMBAR_DIAG_BYTES];

    (void)state;
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    diag_fail(&diag, EINVAL, "%s", longer);
    diag_prefix(&diag, "here");
    assert_int_equal(strlen(diag.text), EMBAR_DIAG_BYTES - 1);
    assert_memory_equal(diag.text, "here: aaa", 9);
}

static void test_version_has_three_numbers(void **state)
{
    unsigned major, minor, patch;
    char rest;

    (void)state;
    assert_int_equal(sscanf(embar_version(), "%u.%u.%u%c", &major, &minor, &patch, &rest), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diag_fail_fills_in_error_and_sentence),
        cmocka_unit_test(test_diag_fail_without_a_diag_returns_the_error),
        cmocka_unit_test(test_diag_fail_may_quote_the_diag_itself),
        cmocka_unit_test(test_diag_cuts_a_long_sentence_to_fit),
        cmocka_unit_test(test_diag_cuts_between_characters),
        cmocka_unit_test(test_diag_keeps_to_one_line),
        cmocka_unit_test(test_diag_prefix_goes_in_front),
        cmocka_unit_test(test_diag_prefix_cuts_the_end),
        cmocka_unit_test(test_version_has_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
