/* Posting on a lane: what lane.c needs of post.c beside the calls in lane.h. */
#ifndef RDMA_POST_H
#define RDMA_POST_H

#include "lane.h"

/* Slots for outgoing messages that do not go inline, beside those that writes may need. */
#define RDMA_SLOTS 32u

/* Send queue entries that the application's writes and messages leave to the backend's own. */
#define RDMA_RESERVE 16u

/* Posts every receive of a new lane. 0 or a negative errno. */
int rdma_post_all_receives(struct rdma_lane *lane);

#endif
