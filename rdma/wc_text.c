/*
 * One row for every status that a work completion can have: the errno value that stands for it and
 * a sentence for the operator. Pure.
 */
#include "wc_text.h"

#include <errno.h>
#include <stddef.h>

static const struct rdma_wc_text texts[] = {
    [IBV_WC_SUCCESS] = {0, "the work request succeeded"},
    [IBV_WC_LOC_LEN_ERR] = {EMSGSIZE,
                            "the peer sent more than this side's receive holds, or this side "
                            "posted "
                            "more than the device takes: the two run different versions"},
    [IBV_WC_LOC_QP_OP_ERR] =
        {EIO, "the device could not carry out a request of this side; its interface "
              "may be down: look at `rdma link` and `ip link`"},
    [IBV_WC_LOC_EEC_OP_ERR] = {EIO, "the device reports an error in an end-to-end context, which "
                                    "this program does not use: suspect its driver"},
    [IBV_WC_LOC_PROT_ERR] = {EFAULT, "this side's device may not read the local buffer: its memory "
                                     "region is gone or does not cover the range"},
    [IBV_WC_WR_FLUSH_ERR] = {ECANCELED,
                             "the queue pair was stopped before this request was carried out"},
    [IBV_WC_MW_BIND_ERR] = {EACCES, "the device refused to bind a memory window to the exposed "
                                    "buffer; set rdma.key to region to do without windows"},
    [IBV_WC_BAD_RESP_ERR] = {EPROTO, "the peer's device answered with something unexpected"},
    [IBV_WC_LOC_ACCESS_ERR] =
        {EACCES, "the peer tried to write where this side's memory region forbids it"},
    [IBV_WC_REM_INV_REQ_ERR] = {EPROTO,
                                "the peer's device found a request of this side invalid: the two "
                                "ends do not agree on sizes, or the path MTU differs between them"},
    [IBV_WC_REM_ACCESS_ERR] = {EACCES,
                               "the peer's device refused a write of this side: the key is wrong "
                               "or was taken back, which also happens when the peer's process "
                               "ends, or the range lies outside of the exposed buffer"},
    [IBV_WC_REM_OP_ERR] = {EREMOTEIO, "the peer's device failed while it carried out a request"},
    [IBV_WC_RETRY_EXC_ERR] = {ETIMEDOUT,
                              "the peer's device no longer acknowledges: its host or process is "
                              "gone, or the network between is cut; see rdma.ack_timeout and "
                              "rdma.retry_count for how long it is tried"},
    [IBV_WC_RNR_RETRY_EXC_ERR] = {EPROTO,
                                  "the peer had no receive posted: its count of credits is wrong"},
    [IBV_WC_LOC_RDD_VIOL_ERR] = {EIO,
                                 "the device reports a reliable-datagram violation, which this "
                                 "program does not use: suspect its driver"},
    [IBV_WC_REM_INV_RD_REQ_ERR] = {EIO, "the peer's device reports an invalid reliable-datagram "
                                        "request, which this program does not use"},
    [IBV_WC_REM_ABORT_ERR] = {ECONNABORTED, "the peer's device aborted the request"},
    [IBV_WC_INV_EECN_ERR] = {EIO, "the device reports an invalid end-to-end context number, which "
                                  "this program does not use: suspect its driver"},
    [IBV_WC_INV_EEC_STATE_ERR] = {EIO, "the device reports an end-to-end context in a wrong state, "
                                       "which this program does not use: suspect its driver"},
    [IBV_WC_FATAL_ERR] = {EIO, "the device reports a fatal error: look at the kernel's log"},
    [IBV_WC_RESP_TIMEOUT_ERR] = {ETIMEDOUT, "the peer's device did not respond in time"},
    [IBV_WC_GENERAL_ERR] = {EIO, "the device reports an error that has no name of its own: look at "
                                 "the kernel's log"},
    [IBV_WC_TM_ERR] = {EIO, "the device reports a tag-matching error, which this program does not "
                            "use: suspect its driver"},
    [IBV_WC_TM_RNDV_INCOMPLETE] = {EIO, "the device reports an incomplete tag-matching rendezvous, "
                                        "which this program does not use: suspect its driver"},
};

struct rdma_wc_text rdma_wc_text(enum ibv_wc_status status)
{
    static const struct rdma_wc_text unknown = {
        EIO, "the device reports a status that this version does not know"};

    if ((unsigned)status >= sizeof(texts) / sizeof(texts[0]) || texts[status].sentence == NULL)
        return unknown;
    return texts[status];
}
