/* Lines and records: what input.c and input_window.c share. One thread. */
#ifndef TOOLS_INPUT_WINDOW_H
#define TOOLS_INPUT_WINDOW_H

#include "input.h"

/* Reads what is there. A count, 0 at the end (`eof` is set then), -EAGAIN with `wait` filled in
 * when nothing is there now, or a negative errno. */
ssize_t input_read(struct input *input, void *data, size_t len_bytes, struct source_wait *wait);

/* A step of an input whose format is lines or records. */
enum source_state window_step(struct input *input, struct embar_publisher *publisher,
                              struct source_wait *wait, struct outcome *outcome);

#endif
