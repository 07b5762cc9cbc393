/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kzd.h - a test daemon: it grants everything on one node
 *
 * Two layers.  kzd_dev_*() is /dev/khazana as its daemon sees it, in the calling
 * process.  kzd_*() runs a server on it in a process of its own (a daemon may
 * not touch a users' view), which answers every request at once unless the test
 * tells it otherwise through struct kzd_shared, and executes single commands for the test.
 *
 * Data.  By default units are virgin zero pages that stay in the module, OWNED; a
 * revoked one is granted again from its HANDOFF frame.  With KZD_STORE the server
 * copies what it revokes into its own memory and fills frames from there, as a
 * remote owner would.  With KZD_PATTERN a unit's words are KZD_PATTERN_WORD() and
 * copies are DROPPABLE.
 */
#ifndef KZD_H
#define KZD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/khazana.h>

#define KZD_DEVICE "/dev/khazana"
#define KZD_REGIONS 16
#define KZD_LOG 16384
#define KZD_OPS 16 /* above the highest enum khazana_req_op */
#define KZD_LEASE 1 /* lease of regions that name none; an hour long */
#define KZD_EPOCH(e) ((uint64_t)(e) << 44)
#define KZD_PATTERN_WORD(unit, word) ((unit)*0x9e3779b97f4a7c15ULL + (word) + 1)

/* flags of kzd_start() and kzd_dev_open() */
#define KZD_URING (1u << 0) /* take requests by IORING_OP_URING_CMD, not by read(2) */
#define KZD_URING_CMD (1u << 1) /* send commands by IORING_OP_URING_CMD, not by ioctl(2) */
#define KZD_STORE (1u << 2) /* revoked data moves to the server's memory */
#define KZD_PATTERN (1u << 3) /* generated contents, copies may be dropped */
#define KZD_ADOPT (1u << 4) /* keep the regions that the module still holds */

#define KZD_BIT(op) (1u << (op))

struct io_uring;

/**
 * struct kzd_dev - /dev/khazana, registered
 * @fd: the device
 * @flags: KZD_URING, KZD_URING_CMD
 * @reg: what REGISTER answered
 * @desc: descriptors, by tag
 * @view: all frames
 * @ring: with KZD_URING or KZD_URING_CMD
 */
struct kzd_dev {
	int fd;
	unsigned int flags;
	struct khazana_register reg;
	struct khazana_request *desc;
	char *view;
	struct io_uring *ring;
	uint32_t *ready; /* tags whose FETCH has completed */
	unsigned int nready;
	bool cmd_done;
	int cmd_res;
	bool dead;
};

/**
 * struct kzd_region - a region that the server knows
 * @generation: 0 until the test adds it
 * @key_serial: of the key that the server finds right
 */
struct kzd_region {
	struct khazana_addr addr;
	uint64_t length;
	uint64_t generation;
	uint64_t key_serial;
	uint32_t shift;
	uint32_t handle;
	uint8_t key[KHAZANA_KEY_SIZE];
};

/**
 * struct kzd_shared - what server and test share; the test writes the first part
 * @hold: KZD_BIT()s of operations that are left to the test
 * @delay_us: before each answer
 * @fault_errno: FAIL every FAULT with it
 * @attach_errno: FAIL every ATTACH with it
 * @storm_us: a random unit is revoked that often, 0 never
 * @storm_region, @storm_units: of the storm
 * @storm_right: what remains; KHAZANA_RIGHT_WRITE means NONE or READ by chance
 * @flags: or'ed into COMMITs
 * @seen: requests by operation
 * @upgrades: FAULTs for WRITE by a holder of READ
 * @revokes: REVOKEs that ended, of the storm
 * @in_progress: REVOKEs of the storm that had to wait for references
 * @refused: COMMITs of the server that were refused
 * @last_error: the errno of the last of them
 */
struct kzd_shared {
	_Atomic uint32_t hold;
	_Atomic uint32_t delay_us;
	_Atomic uint32_t fault_errno;
	_Atomic uint32_t attach_errno;
	_Atomic uint32_t storm_us;
	_Atomic uint32_t storm_region;
	_Atomic uint32_t storm_units;
	_Atomic uint32_t storm_right;
	_Atomic uint32_t flags;

	_Atomic uint64_t seen[KZD_OPS];
	_Atomic uint64_t upgrades;
	_Atomic uint64_t revokes;
	_Atomic uint64_t in_progress;
	_Atomic uint64_t refused;
	_Atomic uint32_t last_error;
	_Atomic uint64_t token;
	_Atomic uint64_t log_head;
	struct khazana_request log[KZD_LOG];
	struct kzd_region region[KZD_REGIONS];

	/* one remote call at a time */
	int call;
	int call_result;
	unsigned int call_count;
	int call_fd;
	struct khazana_cmd cmds[KHAZANA_CMDS_MAX];
};

/**
 * struct kzd - a running server, as its test sees it
 * @sh: shared with the server
 * @pid: the server, 0 when it does not run
 * @store: KZD_STORE: contents of the first region, shared with the server
 */
struct kzd {
	struct kzd_shared *sh;
	pid_t pid;
	unsigned int flags;
	unsigned int depth;
	unsigned int epoch;
	int sock;
	char *store;
	size_t store_size;
	uint64_t cursor[KZD_OPS];
	struct khazana_register reg;
};

/* kzd_dev.c: the device; negative errno on failure */
int kzd_dev_register(struct kzd_dev *v, unsigned int flags, unsigned int depth);
int kzd_dev_open(struct kzd_dev *v, unsigned int flags, unsigned int depth);
void kzd_dev_close(struct kzd_dev *v);
int kzd_dev_pollfd(const struct kzd_dev *v);
int kzd_dev_fetch(struct kzd_dev *v, struct khazana_request *req);
int kzd_dev_batch(struct kzd_dev *v, struct khazana_cmd *cmds, unsigned int count);
int kzd_dev_cmd(struct kzd_dev *v, struct khazana_cmd *cmd);
void kzd_dev_purge(struct kzd_dev *v);

/* kzd_serve.c: the server's loop; returns when the socket is closed */
int kzd_serve(struct kzd_dev *v, struct kzd_shared *sh, unsigned int flags, char *store, int sock);

/* kzd_ctl.c: for the test */
struct kzd *kzd_start(unsigned int flags, unsigned int depth, size_t store_size);
int kzd_restart(struct kzd *d);
void kzd_kill(struct kzd *d);
void kzd_stop(struct kzd *d);
int kzd_batch(struct kzd *d, struct khazana_cmd *cmds, unsigned int count);
int kzd_cmd(struct kzd *d, struct khazana_cmd *cmd);
int kzd_probe(struct kzd *d, int fd);
uint64_t kzd_peek(struct kzd *d, uint32_t frame);
int kzd_region(struct kzd *d, struct khazana_addr addr, uint64_t length, unsigned int shift,
	       const struct khazana_cmd *attributes);
int kzd_region_del(struct kzd *d, uint32_t region);
int kzd_lease(struct kzd *d, uint32_t lease, int64_t end_ms);
int kzd_commit(struct kzd *d, const struct khazana_request *req, uint32_t right, uint64_t token,
	       uint32_t flags);
int kzd_revoke(struct kzd *d, uint32_t region, uint64_t unit, uint32_t right, uint32_t flags);
int kzd_fail(struct kzd *d, const struct khazana_request *req, int error);
int kzd_unit(struct kzd *d, uint32_t region, uint64_t unit, struct khazana_cmd *out);
uint64_t kzd_token(struct kzd *d);
void kzd_hold(struct kzd *d, uint32_t bits);
void kzd_release(struct kzd *d);
bool kzd_wait(struct kzd *d, unsigned int op, int timeout_ms, struct khazana_request *req);
void kzd_skip(struct kzd *d, unsigned int op);
uint64_t kzd_seen(struct kzd *d, unsigned int op);

uint64_t kzd_now_ns(void);

#endif /* KZD_H */
