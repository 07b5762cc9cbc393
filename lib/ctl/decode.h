/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * decode.h - an answer, gathered message by message
 */
#ifndef KH_CTL_DECODE_H
#define KH_CTL_DECODE_H

#include "ctl/ctl.h"
#include "ctl/nla.h"

#define KH_CTL_LIST_MAX 65536 /* elements of a list that a client takes */

/* What has arrived so far; begin with zeroes. */
struct kh_ctl_answer {
	struct khazana_addr addr;
	struct kh_region_info *regions;
	unsigned int region_count;
	struct kh_page_info page;
	bool has_page;
	struct kh_node_info *nodes;
	unsigned int node_count;
	struct kh_counter *counters;
	unsigned int counter_count;
};

/* A kh_ctl_each_fn: @arg is a struct kh_ctl_answer. Return: 0, -ENOMEM. */
int kh_ctl_answer_add(void *arg, const struct kh_nl_msg *msg);

/* View it as a result, whose memory remains the answer's. */
void kh_ctl_answer_result(const struct kh_ctl_answer *answer, struct kh_op_result *result);

/* Free what it holds and make it empty. */
void kh_ctl_answer_free(struct kh_ctl_answer *answer);

#endif /* KH_CTL_DECODE_H */
