/*
 * What one message costs, for callgrind.sh: a publisher and its subscriber in one thread over shm,
 * counting is on during the calls that are named, and off else. Public headers only; owns both
 * ends.
 *
 *   message_path publish|reserve|walk|nothing BYTES COUNT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <valgrind/callgrind.h>

#include <embar/embar.h>

#define MAX_BYTES 65536

static struct embar_publisher *publisher;
static struct embar_subscriber *subscriber;
static unsigned long taken;
static bool in_place, count_publish, count_walk;

#define COUNTED(when, call)                                                                        \
    do {                                                                                           \
        if (when)                                                                                  \
            CALLGRIND_TOGGLE_COLLECT;                                                              \
        call;                                                                                      \
        if (when)                                                                                  \
            CALLGRIND_TOGGLE_COLLECT;                                                              \
    } while (0)

static void die(const char *what, const char *why)
{
    fprintf(stderr, "message_path: %s: %s\n", what, why);
    exit(1);
}

static struct embar_config *make_config(const char *address)
{
    const char *const settings[] = {"transport=shm", "buffer.size=32MiB", "hugepages=never",
                                    "checksum=none", "batch.linger=10s",  address};
    struct embar_config *config;
    struct embar_diag diag = {0};

    if (embar_config_create(&config, &diag) < 0)
        die("config", diag.text);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (embar_config_set(config, settings[i], &diag) < 0)
            die(settings[i], diag.text);
    return config;
}

static void open_both(void)
{
    struct embar_config *config = make_config("subscriber.listen=127.0.0.1:0");
    struct embar_diag diag = {0};
    char address[160];

    if (embar_subscriber_open(config, &subscriber, &diag) < 0)
        die("subscriber", diag.text);
    embar_config_destroy(config);
    snprintf(address, sizeof address, "publisher.connect=%s", embar_subscriber_address(subscriber));
    config = make_config(address);
    if (embar_publisher_open(config, &publisher, &diag) < 0)
        die("publisher", diag.text);
    embar_config_destroy(config);
}

/* The subscriber's application: walks every message of what has come. */
static void drain(void)
{
    struct embar_batch *batch;

    while (embar_next(subscriber, &batch, 0) == 1) {
        struct embar_iter iter = embar_iterate(batch);
        const void *data;
        size_t len_bytes;
        int rc;

        do {
            COUNTED(count_walk, rc = embar_iter_next(&iter, &data, &len_bytes));
            taken += rc == 1;
        } while (rc == 1);
        embar_release(batch);
    }
}

static int put(const void *message, size_t len_bytes)
{
    void *room;
    int rc;

    if (!in_place)
        return embar_publish(publisher, message, len_bytes);
    rc = embar_reserve(publisher, len_bytes, &room);
    return rc < 0 ? rc : embar_commit(publisher, len_bytes);
}

static void count_nothing(unsigned long count)
{
    for (unsigned long i = 0; i < count; i++)
        COUNTED(count_publish, __asm__ volatile(""));
}

static void publish_all(size_t len_bytes, unsigned long count)
{
    static char message[MAX_BYTES];

    for (unsigned long i = 0; i < count;) {
        int rc;

        COUNTED(count_publish, rc = put(message, len_bytes));
        if (rc == 0) {
            i++;
        } else if (rc == -EAGAIN) {
            embar_publisher_poll(publisher, 0);
            drain();
        } else {
            die("publish", strerror(-rc));
        }
    }
    while (embar_publisher_finish(publisher, 0) == -ETIMEDOUT)
        drain();
    if (taken != count)
        die("the subscriber", "not all messages came");
}

int main(int argc, char **argv)
{
    const char *mode = argc == 4 ? argv[1] : "";
    size_t len_bytes = argc == 4 ? strtoul(argv[2], NULL, 10) : MAX_BYTES + 1;
    unsigned long count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;

    if (len_bytes > MAX_BYTES) {
        fprintf(stderr, "usage: message_path publish|reserve|walk|nothing BYTES COUNT\n");
        return 2;
    }
    in_place = strcmp(mode, "reserve") == 0;
    count_walk = strcmp(mode, "walk") == 0;
    count_publish = !count_walk;
    if (strcmp(mode, "nothing") == 0) {
        count_nothing(count);
        return 0;
    }
    open_both();
    publish_all(len_bytes, count);
    embar_publisher_close(publisher);
    embar_subscriber_close(subscriber);
    return 0;
}
