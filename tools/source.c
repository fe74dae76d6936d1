/* What sources have in common. One thread. */
#include "source.h"

#include <errno.h>
#include <string.h>

enum source_state source_refused(struct embar_publisher *publisher, int result,
                                 struct outcome *outcome)
{
    const struct embar_diag *failure;

    if (result == -EAGAIN)
        return SOURCE_FULL;
    failure = embar_publisher_failure(publisher);
    outcome_fail(outcome, TOOL_TRANSPORT, "%s", failure->error ? failure->text : strerror(-result));
    return SOURCE_FAILED;
}
