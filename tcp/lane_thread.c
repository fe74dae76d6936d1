/*
 * Handing jobs to a thread. Each side sets the word that the other looks at, then asks whether the
 * other sleeps; each says that it will sleep, then looks once more, inside of futex(2). All of that
 * is sequentially consistent, so that one of the two always sees the other. Owns the thread.
 */
#include "lane_thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks before going to sleep: more when looking was enough the last time, down to the least when
 * it was not. The most are some 50 us, about what a sleep and a wake-up cost on two processors. */
#define LOOKS_MIN 32u
#define LOOKS_MAX 2048u

enum word { WORD_IDLE = 0, WORD_GIVEN, WORD_STOP };

struct tcp_lane_thread {
    pthread_t id;
    _Atomic uint32_t word; /* enum word; a futex */
    _Atomic bool asleep;
    struct tcp_bell *bell; /* borrowed */
    tcp_job_fn *run;
    void *user;        /* borrowed */
    uint32_t patience; /* the thread's */
};

static void futex_wait(const _Atomic uint32_t *word, uint32_t while_it_is)
{
    /* Interrupted, woken or changed meanwhile: the caller looks again in any case. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_it_is, NULL, NULL, 0);
}

static void futex_wake(const _Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether the word changed while it was worth looking. */
static bool look(const _Atomic uint32_t *word, uint32_t while_it_is, uint32_t *patience)
{
    uint32_t looks = *patience < LOOKS_MIN ? LOOKS_MIN : *patience;

    for (uint32_t i = 0; i < looks; i++) {
        if (atomic_load(word) != while_it_is) {
            *patience = looks * 2 < LOOKS_MAX ? looks * 2 : LOOKS_MAX;
            return true;
        }
        relax();
    }
    *patience = looks / 2;
    return false;
}

static void sleep_on(const _Atomic uint32_t *word, uint32_t while_it_is, _Atomic bool *asleep)
{
    atomic_store(asleep, true);
    while (atomic_load(word) == while_it_is)
        futex_wait(word, while_it_is);
    atomic_store(asleep, false);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void ring(struct tcp_bell *bell)
{
    atomic_fetch_add(&bell->rings, 1);
    if (atomic_load(&bell->awaited))
        futex_wake(&bell->rings);
}

static void *work(void *user)
{
    struct tcp_lane_thread *thread = user;

    for (;;) {
        if (!look(&thread->word, WORD_IDLE, &thread->patience))
            sleep_on(&thread->word, WORD_IDLE, &thread->asleep);
        if (atomic_load(&thread->word) == WORD_STOP)
            return NULL;
        thread->run(thread->user);
        atomic_store(&thread->word, WORD_IDLE);
        ring(thread->bell);
    }
}

/* Signals are the application's: its own threads take them. */
static int begin(struct tcp_lane_thread *thread)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread->id, NULL, work, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

/* ---- the owner ------------------------------------------------------------------------------- */

int tcp_lane_thread_create(struct tcp_lane_thread **thread, struct tcp_bell *bell, const char *name,
                           tcp_job_fn *run, void *user)
{
    struct tcp_lane_thread *made = calloc(1, sizeof(*made));
    int rc;

    if (made == NULL)
        return -ENOMEM;
    made->bell = bell;
    made->run = run;
    made->user = user;
    rc = begin(made);
    if (rc < 0) {
        free(made);
        return rc;
    }
    (void)pthread_setname_np(made->id, name); /* only for who looks at it */
    *thread = made;
    return 0;
}

static void set_word(struct tcp_lane_thread *thread, enum word word)
{
    atomic_store(&thread->word, word);
    if (atomic_load(&thread->asleep))
        futex_wake(&thread->word);
}

void tcp_lane_thread_destroy(struct tcp_lane_thread *thread)
{
    if (thread == NULL)
        return;
    tcp_lane_thread_wait(thread);
    set_word(thread, WORD_STOP);
    pthread_join(thread->id, NULL);
    free(thread);
}

void tcp_lane_thread_give(struct tcp_lane_thread *thread)
{
    set_word(thread, WORD_GIVEN);
}

bool tcp_lane_thread_is_over(const struct tcp_lane_thread *thread)
{
    return atomic_load(&thread->word) == WORD_IDLE;
}

void tcp_lane_thread_wait(struct tcp_lane_thread *thread)
{
    for (;;) {
        uint32_t rings = tcp_bell_rings(thread->bell);

        if (tcp_lane_thread_is_over(thread))
            return;
        tcp_bell_wait(thread->bell, rings);
    }
}

uint32_t tcp_bell_rings(const struct tcp_bell *bell)
{
    return atomic_load(&bell->rings);
}

void tcp_bell_wait(struct tcp_bell *bell, uint32_t rings)
{
    if (!look(&bell->rings, rings, &bell->patience))
        sleep_on(&bell->rings, rings, &bell->awaited);
}
