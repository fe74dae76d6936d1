/* What the tests of building in place share: a publisher and a subscriber joined over the mapped
 * variant of the in-memory backend, and a message that takes its time. */
#ifndef TESTS_SIMULATION_IN_PLACE_H
#define TESTS_SIMULATION_IN_PLACE_H

#include "simulation/sim.h"

/* Joins subscriber 0 and publisher 0, which is opened with one setting more (NULL: none). */
void join_in_place(struct sim *sim, const char *more);

/* A link of the publisher that is up, or NULL. */
struct embar_link *any_link(const struct embar_publisher *publisher);

/* Whether the memory lies in the publisher's own buffer. */
bool is_own(const struct embar_publisher *publisher, const void *addr);

/* Cuts the link of publisher 0 and steps until the two have joined again. */
void cut_and_come_back(struct sim *sim);

/* A message of publisher 0 that is reserved now and committed some polls later. */
struct slow_message {
    uint8_t bytes[SIM_MESSAGE_BYTES];
    size_t len;
    void *room; /* NULL: none */
};

void begin_slowly(struct sim *sim, struct slow_message *slow);
void end_slowly(struct sim *sim, struct slow_message *slow);

#endif
