/*
 * A pool that is really too small: the refusal says by how much, and the command that it gives is
 * the right one. Needs root to follow the advice; exit status 77 without it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/memory_facts.h"
#include "support/huge_pool.h"

#define TRIES     20 /* other processes use the pool too */
#define BEYOND    8  /* pages more than there are */
#define SKIP_CODE 77

static struct memory_facts read_facts(size_t size)
{
    struct memory_facts facts;

    memory_facts_read(&facts, "", size, -1);
    return facts;
}

static bool is_same_pool(const struct memory_facts *a, const struct memory_facts *b)
{
    return a->pool_total == b->pool_total && a->pool_free == b->pool_free &&
           a->pool_reserved == b->pool_reserved;
}

/* Asks for more than the pool has; true when nobody else changed the pool meanwhile. */
static bool ask_beyond(struct memory_facts *facts, uint64_t *pages, struct embar_diag *diag)
{
    struct memory memory;

    *facts = read_facts(SIZE_MAX);
    *pages = facts->pool_free - facts->pool_reserved + BEYOND;
    size_t size = (size_t)*pages * facts->huge_bytes;
    if (memory_alloc(size, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, diag) == 0) {
        memory_free(&memory);
        return false;
    }
    struct memory_facts after = read_facts(SIZE_MAX);
    return is_same_pool(facts, &after);
}

static void test_memory_pool_too_small_says_how_many_pages_it_needs(void **state)
{
    struct memory_facts facts;
    struct embar_diag diag = {0};
    uint64_t pages;
    char words[128];
    int i = 0;

    (void)state;
    while (!ask_beyond(&facts, &pages, &diag) && i < TRIES)
        i++;
    assert_true(i < TRIES);
    assert_int_equal(diag.error, ENOMEM);
    snprintf(words, sizeof(words), "the pool has %llu of the %llu free pages",
             (unsigned long long)(pages - BEYOND), (unsigned long long)pages);
    assert_non_null(strstr(diag.text, words));
    snprintf(words, sizeof(words), "sysctl -w vm.nr_hugepages=%llu",
             (unsigned long long)(facts.pool_total + BEYOND));
    assert_non_null(strstr(diag.text, words));
}

/* Follows the advice, and takes back what it brought. True when there are enough pages then. */
static bool follow_advice(const struct embar_diag *diag, uint64_t pages)
{
    struct embar_diag unused = {0};
    struct memory memory;
    unsigned long long advice = 0;
    const char *command = strstr(diag->text, "vm.nr_hugepages=");

    assert_non_null(command);
    assert_int_equal(sscanf(command, "vm.nr_hugepages=%llu", &advice), 1);
    assert_true(huge_pool_write(advice));
    struct memory_facts now = read_facts(SIZE_MAX);
    bool enough = now.pool_total == advice && now.pool_free - now.pool_reserved >= pages;
    /* Taking all of them would leave none for other processes: as many as were missing will do. */
    int rc = memory_alloc(BEYOND * now.huge_bytes, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, &unused);
    if (rc == 0)
        memory_free(&memory);
    huge_pool_release(BEYOND);
    return enough && rc == 0;
}

static void test_memory_pool_as_large_as_the_advice_suffices(void **state)
{
    struct memory_facts facts;
    struct embar_diag diag = {0};
    uint64_t pages;
    int i = 0;

    (void)state;
    while (!(ask_beyond(&facts, &pages, &diag) && follow_advice(&diag, pages)) && i < TRIES)
        i++;
    assert_true(i < TRIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_pool_too_small_says_how_many_pages_it_needs),
        cmocka_unit_test(test_memory_pool_as_large_as_the_advice_suffices),
    };

    if (access(HUGE_POOL_FILE, W_OK) != 0 || !huge_pool_lock()) {
        fprintf(stderr, "skipped: may not write %s\n", HUGE_POOL_FILE);
        return SKIP_CODE;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
