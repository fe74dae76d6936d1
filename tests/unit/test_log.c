/* Log lines reach the sink that was named, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/log.h"

struct sink {
    int lines;
    enum embar_log_level level;
    char line[2048];
};

static void take(enum embar_log_level level, const char *line, void *user)
{
    struct sink *sink = user;

    sink->lines++;
    sink->level = level;
    snprintf(sink->line, sizeof(sink->line), "%s", line);
}

static int switch_off(void **state)
{
    (void)state;
    embar_log_set(EMBAR_LOG_DEBUG, NULL, NULL);
    return 0;
}

static void test_log_is_off_at_the_start(void **state)
{
    (void)state;
    assert_false(log_wanted(EMBAR_LOG_ERROR));
    log_error("nobody hears this");
}

static void test_log_hands_level_and_line_to_the_sink(void **state)
{
    struct sink sink = {0};

    (void)state;
    embar_log_set(EMBAR_LOG_INFO, take, &sink);
    log_info("link %d is up", 3);
    assert_int_equal(sink.lines, 1);
    assert_int_equal(sink.level, EMBAR_LOG_INFO);
    assert_string_equal(sink.line, "link 3 is up");
}

static void test_log_drops_what_is_less_serious_than_asked(void **state)
{
    struct sink sink = {0};

    (void)state;
    embar_log_set(EMBAR_LOG_WARN, take, &sink);
    assert_true(log_wanted(EMBAR_LOG_ERROR) && log_wanted(EMBAR_LOG_WARN));
    assert_false(log_wanted(EMBAR_LOG_INFO) || log_wanted(EMBAR_LOG_DEBUG));
    log_error("1");
    log_warn("2");
    log_info("3");
    log_debug("4");
    assert_int_equal(sink.lines, 2);
    assert_string_equal(sink.line, "2");
}

static void test_log_with_the_threshold_error_takes_errors(void **state)
{
    struct sink sink = {0};

    (void)state;
    embar_log_set(EMBAR_LOG_ERROR, take, &sink);
    log_error("heard");
    log_warn("not heard");
    assert_int_equal(sink.lines, 1);
}

static void test_log_can_be_switched_off_again(void **state)
{
    struct sink sink = {0};

    (void)state;
    embar_log_set(EMBAR_LOG_DEBUG, take, &sink);
    embar_log_set(EMBAR_LOG_DEBUG, NULL, NULL);
    log_error("unheard");
    assert_int_equal(sink.lines, 0);
    assert_false(log_wanted(EMBAR_LOG_ERROR));
}

static void test_log_line_cannot_be_split_by_its_arguments(void **state)
{
    struct sink sink = {0};

    (void)state;
    embar_log_set(EMBAR_LOG_INFO, take, &sink);
    log_info("reject: %s", "bye\nERROR forged");
    assert_int_equal(sink.lines, 1);
    assert_string_equal(sink.line, "reject: bye?ERROR forged");
}

static void test_log_cuts_a_line_that_is_too_long(void **state)
{
    struct sink sink = {0};
    char longer[4096];

    (void)state;
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    embar_log_set(EMBAR_LOG_INFO, take, &sink);
    log_info("%s", longer);
    assert_int_equal(sink.lines, 1);
    assert_true(strlen(sink.line) > 500 && strlen(sink.line) < sizeof(longer) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_log_is_off_at_the_start, switch_off),
        cmocka_unit_test_teardown(test_log_hands_level_and_line_to_the_sink, switch_off),
        cmocka_unit_test_teardown(test_log_drops_what_is_less_serious_than_asked, switch_off),
        cmocka_unit_test_teardown(test_log_with_the_threshold_error_takes_errors, switch_off),
        cmocka_unit_test_teardown(test_log_can_be_switched_off_again, switch_off),
        cmocka_unit_test_teardown(test_log_line_cannot_be_split_by_its_arguments, switch_off),
        cmocka_unit_test_teardown(test_log_cuts_a_line_that_is_too_long, switch_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
