/*
 * Backends that break the contract: each scenario runs in a child process. A debug or sanitized
 * build stops there with SIGABRT after one log line; any other build logs the same line and keeps
 * what it promises to the application.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/puppet.h"
#include "transport/object.h"
#include "transport/registry.h"

static struct embar_transport *transport;
static struct embar_link *link_up;
static struct embar_buffer *buffer;
static struct embar_event events[32];
static int log_pipe[2];

/* The child's log goes to the parent. */
static void send_line(enum embar_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == EMBAR_LOG_ERROR && write(log_pipe[1], line, strlen(line)) < 0)
        _exit(9);
}

/* In the child an unmet expectation is an exit status of its own: cmocka is the parent's. */
static void expect(bool met)
{
    if (!met)
        _exit(8);
}

static void prepare(void)
{
    puppet_reset();
    expect(embar_transport_open("puppet", NULL, &transport, NULL) == 0);
    expect(embar_connect(transport, "there:1", &link_up, NULL) == 0);
    expect(embar_buffer_alloc(transport, 4096, NULL, &buffer, NULL) == 0);
    core_link_up(link_up);
    expect(embar_poll(transport, events, 32) == 1);
}

static void post(uint64_t token)
{
    const struct embar_write write = {
        .buffer = buffer, .len_bytes = 8, .key = {.size = 8}, .token = token};

    expect(embar_write(link_up, &write) == 0);
}

/* Runs it in a child. `aborts`: whether builds that stop at such bugs stop at this one. */
static void run(void (*scenario)(void), bool aborts, const char *expected_line)
{
    char line[512] = "";
    ssize_t len;
    int status;
    pid_t child;

    assert_int_equal(pipe(log_pipe), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        embar_log_set(EMBAR_LOG_ERROR, send_line, NULL);
        prepare();
        scenario();
        _exit(0);
    }
    close(log_pipe[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    len = read(log_pipe[0], line, sizeof(line) - 1);
    close(log_pipe[0]);
    assert_true(len > 0);
    assert_non_null(strstr(line, expected_line));
    assert_non_null(strstr(line, "bug in backend puppet: link "));
    if (aborts && contract_aborts) {
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    } else {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void down_with_writes(void)
{
    post(1);
    post(2);
    core_link_down(link_up, 0, "gone");
    expect(embar_poll(transport, events, 32) == 3);
    expect(events[0].type == EMBAR_EVENT_WRITE_DONE && events[0].status == -ECANCELED);
    expect(events[1].type == EMBAR_EVENT_WRITE_DONE && events[1].status == -ECANCELED);
    expect(events[0].token + events[1].token == 3);
    expect(events[2].type == EMBAR_EVENT_LINK_DOWN);
    expect(embar_buffer_free(buffer) == 0);
}

static void test_a_link_down_with_writes_in_flight_ends_them_all(void **state)
{
    (void)state;
    run(down_with_writes, true, "reported down with writes in flight");
}

static void done_twice(void)
{
    post(1);
    core_write_done(link_up, puppet.tokens[0], 8, 0);
    core_write_done(link_up, puppet.tokens[0], 8, 0);
    expect(embar_poll(transport, events, 32) == 1);
    post(2); /* which uses the same record */
    core_write_done(link_up, puppet.tokens[0], 8, 0);
    expect(embar_poll(transport, events, 32) == 0);
}

static void test_a_write_that_ends_twice_is_told_once(void **state)
{
    (void)state;
    run(done_twice, true, "ended a write that is not in flight");
}

static void done_with_other_length(void)
{
    post(1);
    core_write_done(link_up, puppet.tokens[0], 7, 0);
    expect(embar_poll(transport, events, 32) == 1);
    expect(events[0].len_bytes == 8);
}

static void test_a_write_that_ends_with_another_length_is_noticed(void **state)
{
    (void)state;
    run(done_with_other_length, true, "ended a write with another length");
}

static void down_twice(void)
{
    core_link_down(link_up, 0, "gone");
    core_link_down(link_up, -EIO, "gone again");
    expect(embar_poll(transport, events, 32) == 1);
    expect(strcmp(events[0].reason, "gone") == 0);
    expect(events[0].status == 0);
}

static void test_a_link_that_goes_down_twice_is_told_once(void **state)
{
    (void)state;
    run(down_twice, true, "reported down again");
}

static void up_twice(void)
{
    core_link_up(link_up);
    expect(embar_poll(transport, events, 32) == 0);
}

static void test_a_link_that_comes_up_twice_is_told_once(void **state)
{
    (void)state;
    run(up_twice, true, "reported up");
}

static void long_message(void)
{
    char bytes[65] = {0};

    core_message(link_up, bytes, 65);
    expect(embar_poll(transport, events, 32) == 0);
}

static void test_a_message_above_the_limit_is_not_delivered(void **state)
{
    (void)state;
    run(long_message, true, "longer than its own limit");
}

static void message_after_down(void)
{
    core_link_down(link_up, 0, "gone");
    core_message(link_up, "late", 4);
    expect(embar_poll(transport, events, 32) == 1);
    expect(events[0].type == EMBAR_EVENT_LINK_DOWN);
}

static void test_a_message_after_link_down_is_dropped(void **state)
{
    (void)state;
    run(message_after_down, false, "a message dropped");
}

static void arrival_after_down(void)
{
    core_link_down(link_up, 0, "gone");
    expect(embar_poll(transport, events, 32) == 1);
    core_arrival(link_up, 1, 8);
    expect(embar_poll(transport, events, 32) == 0);
}

static void test_an_arrival_after_link_down_is_dropped(void **state)
{
    (void)state;
    run(arrival_after_down, false, "an arrival dropped");
}

static void message_before_up(void)
{
    struct embar_link *link;

    expect(embar_connect(transport, "there:2", &link, NULL) == 0);
    core_message(link, "early", 5);
    expect(embar_poll(transport, events, 32) == 0);
}

static void test_a_message_before_link_up_is_dropped(void **state)
{
    (void)state;
    run(message_before_up, false, "a message dropped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_link_down_with_writes_in_flight_ends_them_all),
        cmocka_unit_test(test_a_write_that_ends_twice_is_told_once),
        cmocka_unit_test(test_a_write_that_ends_with_another_length_is_noticed),
        cmocka_unit_test(test_a_link_that_goes_down_twice_is_told_once),
        cmocka_unit_test(test_a_link_that_comes_up_twice_is_told_once),
        cmocka_unit_test(test_a_message_above_the_limit_is_not_delivered),
        cmocka_unit_test(test_a_message_after_link_down_is_dropped),
        cmocka_unit_test(test_an_arrival_after_link_down_is_dropped),
        cmocka_unit_test(test_a_message_before_link_up_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
