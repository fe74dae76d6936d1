/*
 * Conformance: a write that its key does not allow ends its own link, places nothing outside, and
 * leaves every other link alone. The call checks a write against its key, so that these tests forge
 * keys: they stand for a peer that lies. Runs on the test's one thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "conformance/tests.h"

#define SIZE 65536u

/* Two links of one server; the first is about to offend. */
struct scene {
    struct joined offender, bystander;
    struct window window, other; /* of the offender, of the bystander */
};

static struct scene scene_open(struct world *world)
{
    struct scene scene;

    scene.offender = world_join(world);
    scene.bystander = world_join(world);
    scene.window = world_window(world, &scene.offender, SIZE);
    scene.other = world_window(world, &scene.bystander, SIZE);
    memset(buffer_bytes(scene.window.source), 0xbb, SIZE);
    memset(buffer_bytes(scene.other.source), 0xcc, SIZE);
    return scene;
}

/* Posts the write, and all that must follow. */
static void offend(struct world *world, struct scene *scene, const struct embar_write *write)
{
    struct embar_write good = {.buffer = scene->other.source,
                               .len_bytes = SIZE / 2,
                               .key = scene->other.key,
                               .immediate = 77};
    struct end *client = scene->offender.client, *server = scene->offender.server;

    assert_int_equal(end_write(client, write), 0);
    world_until(world, client->down && server->down);
    assert_true(client->down_status < 0);
    assert_true(server->down_status < 0);
    assert_non_null(strchr(client->reason, ' '));
    assert_non_null(strchr(server->reason, ' '));
    assert_int_equal(client->done_count, 1);
    assert_int_equal(server->arrival_count, 0);

    world_write(world, scene->bystander.client, &good);
    world_send(world, scene->bystander.client, "on", 2);
    world_until(world, scene->bystander.server->arrival_count == 1);
    world_until(world, scene->bystander.server->message_count == 1);
    world_until(world, scene->bystander.client->done_count == 1);
    assert_int_equal(scene->bystander.client->dones[0].status, 0);
    assert_int_equal(scene->bystander.server->arrivals[0].immediate, 77);
    assert_false(scene->bystander.client->down);
    assert_false(scene->bystander.server->down);
    assert_true(all_bytes_are(buffer_bytes(scene->other.target), SIZE / 2, 0xcc));
    assert_true(all_bytes_are(buffer_bytes(scene->other.target) + SIZE / 2, SIZE / 2, 0));
}

static struct embar_write forged(const struct scene *scene)
{
    return (struct embar_write){
        .buffer = scene->window.source, .len_bytes = 4096, .key = scene->window.key};
}

static void test_a_write_with_a_stale_key_ends_its_link_only(void **state)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);

    assert_int_equal(embar_buffer_unexpose(scene.window.target), 0);
    offend(world, &scene, &write);
    assert_true(all_bytes_are(buffer_bytes(scene.window.target), SIZE, 0));
}

static void test_a_write_with_the_key_of_an_earlier_exposure_ends_its_link_only(void **state)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);
    struct embar_key fresh;

    assert_int_equal(embar_buffer_unexpose(scene.window.target), 0);
    assert_int_equal(
        embar_buffer_expose(scene.window.target, scene.offender.server->link, &fresh, NULL), 0);
    offend(world, &scene, &write);
    assert_true(all_bytes_are(buffer_bytes(scene.window.target), SIZE, 0));
}

static void test_a_write_with_the_key_of_another_link_ends_its_link_only(void **state)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);

    write.key = scene.other.key;
    offend(world, &scene, &write);
    assert_true(all_bytes_are(buffer_bytes(scene.window.target), SIZE, 0));
}

static void test_a_write_with_an_invented_key_ends_its_link_only(void **state)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);

    write.key.id ^= 0x5a5a5a;
    offend(world, &scene, &write);
    assert_true(all_bytes_are(buffer_bytes(scene.window.target), SIZE, 0));
}

static void test_a_write_before_anything_is_exposed_ends_its_link_only(void **state)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);

    world_part(world, &scene.offender); /* a new link, to which nothing was ever exposed */
    scene.offender = world_join(world);
    offend(world, &scene, &write);
    assert_true(all_bytes_are(buffer_bytes(scene.window.target), SIZE, 0));
}

/* The buffer lies in the middle of a larger mapping, whose other bytes must never change. */
static void write_beyond(void **state, uint64_t remote_offset, size_t len_bytes)
{
    struct world *world = *state;
    struct scene scene = scene_open(world);
    struct embar_write write = forged(&scene);
    unsigned char *map = mmap(NULL, 3 * SIZE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct embar_diag diag = {0};
    struct embar_buffer *buffer;
    int rc;

    assert_ptr_not_equal(map, MAP_FAILED);
    buffer = side_adopt(&world->server, map + SIZE, SIZE);
    assert_int_equal(embar_buffer_unexpose(scene.window.target), 0);
    rc = embar_buffer_expose(buffer, scene.offender.server->link, &write.key, &diag);
    if (rc == -ENOTSUP) { /* a transport that shares memory cannot share the caller's */
        assert_non_null(strstr(diag.text, "adopted"));
        assert_int_equal(
            embar_buffer_expose(scene.window.target, scene.offender.server->link, &write.key, NULL),
            0);
    } else {
        assert_int_equal(rc, 0);
    }
    write.key.size = UINT64_MAX;
    write.remote_offset = remote_offset;
    write.len_bytes = len_bytes;
    offend(world, &scene, &write);
    assert_true(all_bytes_are(map, SIZE, 0));
    assert_true(all_bytes_are(map + 2 * SIZE, SIZE, 0));
    side_free(&world->server, buffer);
    munmap(map, 3 * SIZE);
}

static void test_a_write_over_the_end_of_the_buffer_ends_its_link_only(void **state)
{
    write_beyond(state, SIZE - 1, 2);
}

static void test_a_write_beyond_the_buffer_ends_its_link_only(void **state)
{
    write_beyond(state, SIZE, 1);
}

static void test_a_long_write_over_the_end_of_the_buffer_ends_its_link_only(void **state)
{
    write_beyond(state, 1, SIZE);
}

static void test_a_write_that_wraps_to_before_the_buffer_ends_its_link_only(void **state)
{
    write_beyond(state, UINT64_MAX - 4096, 4096);
}

const struct CMUnitTest refusal_tests[] = {
    WORLD_TEST(test_a_write_with_a_stale_key_ends_its_link_only),
    WORLD_TEST(test_a_write_with_the_key_of_an_earlier_exposure_ends_its_link_only),
    WORLD_TEST(test_a_write_with_the_key_of_another_link_ends_its_link_only),
    WORLD_TEST(test_a_write_with_an_invented_key_ends_its_link_only),
    WORLD_TEST(test_a_write_before_anything_is_exposed_ends_its_link_only),
    WORLD_TEST(test_a_write_over_the_end_of_the_buffer_ends_its_link_only),
    WORLD_TEST(test_a_write_beyond_the_buffer_ends_its_link_only),
    WORLD_TEST(test_a_long_write_over_the_end_of_the_buffer_ends_its_link_only),
    WORLD_TEST(test_a_write_that_wraps_to_before_the_buffer_ends_its_link_only),
};
const size_t refusal_test_count = sizeof(refusal_tests) / sizeof(refusal_tests[0]);
