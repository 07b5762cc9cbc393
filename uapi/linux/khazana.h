/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * khazana.h - the interface of /dev/khazana
 *
 * A region is a contiguous range of a 128-bit global address space that
 * processes on many machines share.  A process opens /dev/khazana, binds the
 * file to a window of a region with KHAZANA_IOC_ATTACH and maps it; loads and
 * stores fault, and the fault takes the lock.  The daemon, khd, opens the same
 * device, binds it with KHAZANA_IOC_REGISTER, fetches requests from the
 * module and answers them with commands.
 *
 * Rules for every structure: its first member is its own size in bytes; a
 * kernel that knows a shorter one accepts a longer one if the tail is zero
 * (else E2BIG), a kernel that knows a longer one takes the missing tail as
 * zero; a size below the first version's is EINVAL.  Reserved fields and
 * unknown flags must be zero (EINVAL).  Addresses and lengths are in bytes,
 * times in nanoseconds of CLOCK_BOOTTIME.
 *
 * The errno dictionary, the same for every call:
 *
 *   EINVAL     malformed: size, flags, alignment, overflow, wrong kind of file
 *   E2BIG      a structure longer than known, with a non-zero tail
 *   EFAULT     a user pointer that cannot be read or written
 *   ENOENT     no such region, unit or request
 *   ENXIO      the range is reserved, but no storage is allocated for it
 *   ERANGE     the window or range leaves the region
 *   EKEYREJECTED the region key is wrong, or another one since this file was attached
 *   EPERM      the caller lacks CAP_NET_ADMIN in the instance's namespace
 *   EACCES     the file was opened without the right that the call needs
 *   EBUSY      in use: second ATTACH, region mapped or locked, second khd
 *   EAGAIN     TRY was asked for and the right is not free, or nothing to read
 *   ETIMEDOUT  the deadline passed
 *   EDEADLK    the wait would close a cycle; a khd touches a user's view
 *   EIO        the only current copy of a unit is lost (for now), or a disk failed
 *   ESTALE     poisoned: dirty data of this attachment lost its right; also a
 *              token below the floor or of an old epoch
 *   ENODEV     no khd is registered, or it has gone, or no module is loaded
 *   ESHUTDOWN  the namespace of the instance is gone
 *   ENOMEM     no memory (a load or store comes again then), or the limit of frames is reached
 *   ENOSPC     no address space or no storage is left; a write at the window's end
 *   EINTR      a signal came first; ask again
 *   EINPROGRESS a REVOKE goes on; KHAZANA_REQ_REVOKED will report its end
 *   EALREADY   a command that has nothing to do any more (not an error)
 *   EOPNOTSUPP this kernel or this kind of region cannot do that
 *
 * A fault that ends in one of these is SIGBUS.  What asks khd without the
 * module, libkhazana and khadm, has four more:
 *
 *   EPROTO     the answer of khd cannot be understood: it is of another version
 *   ENAMETOOLONG the path of khd's socket is longer than a socket's can be
 *   EMFILE     this process can open no more files
 *   ENFILE     this machine can open no more files
 */
#ifndef _UAPI_LINUX_KHAZANA_H
#define _UAPI_LINUX_KHAZANA_H

#include <linux/types.h>
#include <linux/ioctl.h>

#define KHAZANA_ABI_VERSION	5
#define KHAZANA_KEY_SIZE	16
#define KHAZANA_UNIT_SHIFT_MIN	12	/* of a mappable region */
#define KHAZANA_UNIT_SHIFT_MAX	21
#define KHAZANA_QUEUE_DEPTH_MAX	4096
#define KHAZANA_CMDS_MAX	256	/* commands in one batch */
#define KHAZANA_RANGE_UNITS_MAX	4096	/* units in one request or command */
#define KHAZANA_VERSION_NONE	(~0ULL)	/* "holds no copy" */

/**
 * struct khazana_addr - a global address
 * @hi: upper 64 bits
 * @lo: lower 64 bits
 */
struct khazana_addr {
	__u64 hi;
	__u64 lo;
};

/* A node's right to a unit. */
enum khazana_right {
	KHAZANA_RIGHT_NONE	= 0,
	KHAZANA_RIGHT_READ	= 1,
	KHAZANA_RIGHT_WRITE	= 2,
};

/* What a unit is doing on this node; exactly one at a time. */
enum khazana_state {
	KHAZANA_STATE_STABLE	= 0,	/* nothing under way */
	KHAZANA_STATE_FETCHING	= 1,	/* a request is at khd, no usable copy */
	KHAZANA_STATE_UPGRADING	= 2,	/* READ held, WRITE asked for */
	KHAZANA_STATE_REVOKING	= 3,	/* zapped, but somebody holds references */
	KHAZANA_STATE_EXPIRED_DIRTY = 4,/* lease ended with unsaved stores */
};

/* Flags of a unit, beside its state. */
#define KHAZANA_UNIT_OWNED	(1u << 0) /* this may be the last copy */
#define KHAZANA_UNIT_HANDOFF	(1u << 1) /* a kept frame; its token and version below */
#define KHAZANA_UNIT_DIRTY	(1u << 2) /* stored to since the grant */
#define KHAZANA_UNIT_DROPPABLE	(1u << 3) /* reclaim may drop it */
#define KHAZANA_UNIT_TWIN	(1u << 4) /* reserved for release consistency */
#define KHAZANA_UNIT_LOCKED	(1u << 5) /* under an explicit lock of a context */

/* ------------------------------------------------------------------ users */

/* ATTACH flags */
#define KHAZANA_ATTACH_READONLY	(1u << 0) /* loads only; mmap PROT_WRITE is EACCES */

/**
 * struct khazana_attach - KHAZANA_IOC_ATTACH: bind this file to a window
 * @size: sizeof(struct khazana_attach)
 * @flags: KHAZANA_ATTACH_*
 * @start: first address of the window, a multiple of the region's unit
 * @length: bytes, a multiple of the unit, at most 2^63 - 4096; 0 means to
 *	the end of the region
 * @key: the region's key; given to the local khd only, never stored
 * @timeout_ms: how long to wait for khd and the home; 0 means 30 s
 * @unit_shift: out: log2 of the region's unit
 * @length_out: out: bytes in the window
 * @region_start: out: the region's first address
 * @region_length: out: bytes in the region
 *
 * Sleeps, killable.  Afterwards mmap, read, write, pread, pwrite, lseek and
 * fsync work on the window, offset 0 being @start.  When the region's key is changed they
 * go on working, but LOCK through this file is EKEYREJECTED from then on: attach
 * another file, with the new key.  Errors: EINVAL, EBUSY (bound already),
 * ENOENT, ERANGE, EKEYREJECTED, ENODEV, ETIMEDOUT, ENOMEM.
 */
struct khazana_attach {
	__u32 size;
	__u32 flags;
	struct khazana_addr start;
	__u64 length;
	__u8  key[KHAZANA_KEY_SIZE];
	__u32 timeout_ms;
	__u32 unit_shift;
	__u64 length_out;
	struct khazana_addr region_start;
	__u64 region_length;
};

enum khazana_lock_mode {
	KHAZANA_LOCK_READ	= 1,	/* shared */
	KHAZANA_LOCK_WRITE	= 2,	/* exclusive */
	KHAZANA_LOCK_OVERWRITE	= 3,	/* exclusive; contents are not fetched and read as zero */
};

/* LOCK flags */
#define KHAZANA_LOCK_TRY	(1u << 0) /* EAGAIN instead of waiting for a holder */

/**
 * struct khazana_lock - KHAZANA_IOC_LOCK and KHAZANA_IOC_UNLOCK
 * @size: sizeof(struct khazana_lock)
 * @flags: KHAZANA_LOCK_*
 * @offset: first byte in the window; rounded down to a unit
 * @length: bytes, not 0; the end is rounded up to a unit
 * @mode: enum khazana_lock_mode; 0 for UNLOCK
 * @timeout_ms: of LOCK; 0 means the region's limit
 * @token: out of LOCK: the fencing token, the highest of the range's grants
 * @id: out of LOCK, in of UNLOCK: names the lock among those of this file
 *
 * The context that holds a lock is the open file.  Locks of one file never
 * conflict among themselves.  Closing the file releases them.  A lock that is held when
 * the region's key is changed stays; one that waits then is refused.  Errors of LOCK:
 * EINVAL, ERANGE, EACCES, EAGAIN, ETIMEDOUT, EDEADLK, ENXIO, EIO, ESTALE, ENODEV,
 * EKEYREJECTED, EINTR, ENOMEM; of UNLOCK: ENOENT, ESTALE (released, but the lease had ended before).
 */
struct khazana_lock {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u32 mode;
	__u32 timeout_ms;
	__u64 token;
	__u64 id;
};

/* FLUSH flags */
#define KHAZANA_FLUSH_KEYED	(1u << 0) /* EKEYREJECTED if the key is not that of ATTACH any more */

/**
 * struct khazana_range - KHAZANA_IOC_PREFETCH and KHAZANA_IOC_FLUSH
 * @size: sizeof(struct khazana_range)
 * @flags: KHAZANA_FLUSH_*; 0 for PREFETCH
 * @offset: first byte in the window
 * @length: bytes; 0 means to the end of the window
 *
 * PREFETCH asks for READ copies and returns at once.  FLUSH, like fsync and
 * msync(MS_SYNC), returns when the range is as safe as the region's attributes say.
 */
struct khazana_range {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
};

/* -------------------------------------------------------------------- khd */

/* REGISTER flags */
#define KHAZANA_REGISTER_NO_URING (1u << 0) /* requests will be taken by read(2) */

/**
 * struct khazana_register - KHAZANA_IOC_REGISTER: this file is the daemon's
 * @size: sizeof(struct khazana_register)
 * @flags: KHAZANA_REGISTER_*
 * @depth: descriptors, 1..KHAZANA_QUEUE_DEPTH_MAX
 * @netlink_port: the port on which khd answers what it owns, or 0
 * @node: this node's id, for events and statistics
 * @abi: out: KHAZANA_ABI_VERSION
 * @frames_max: out: the instance's limit of frames now, in pages; see KHAZANA_CMD_LIMIT
 * @regions: out: regions that the module still holds from an earlier khd
 * @boot: out: random id of this instance, new at each load of the module
 * @desc_offset: out: mmap offset of @depth struct khazana_request
 * @view_offset: out: mmap offset of the view of all frames
 * @view_pages: out: pages of that view; no limit of frames can be higher
 *
 * Needs CAP_NET_ADMIN in the instance's user namespace.  EBUSY while another
 * khd is registered.  From then on new requests wait for this khd; requests that an earlier
 * one had fetched are given out again, under new ids.  Closing the file ends the registration.
 */
struct khazana_register {
	__u32 size;
	__u32 flags;
	__u32 depth;
	__u32 netlink_port;
	__u32 node;
	__u32 abi;
	__u64 frames_max;
	__u32 regions;
	__u32 reserved;
	__u64 boot;
	__u64 desc_offset;
	__u64 view_offset;
	__u64 view_pages;
};

enum khazana_req_op {
	KHAZANA_REQ_FAULT	= 1, /* unit, count, want, version, frame: wanted by threads or a lock */
	KHAZANA_REQ_ATTACH	= 2, /* addr, length, key: answer ATTACH_DONE or FAIL */
	KHAZANA_REQ_PREFETCH	= 3, /* unit, count: a hint; no answer is owed */
	KHAZANA_REQ_FLUSH	= 4, /* unit, count: answer FAIL with error 0 when safe */
	KHAZANA_REQ_REVOKED	= 5, /* notice: the REVOKE with cookie is over; as in its command */
	KHAZANA_REQ_UNLOCKED	= 6, /* notice: locks on unit, count are gone; a REVOKE had got EBUSY */
	KHAZANA_REQ_DROPPED	= 7, /* notice: reclaim dropped unit, count; token of the right */
	KHAZANA_REQ_EXPIRED	= 8, /* notice: the lease of lease id `unit` ended in the module */
	KHAZANA_REQ_IDLE	= 9, /* notice: no attachment of the region is left */
	KHAZANA_REQ_PRESSURE	= 10,/* notice: frames are short: have OWNED units stored; count = 1: somebody waits, give up backups too */
	KHAZANA_REQ_CANCELLED	= 11,/* notice: nobody waits for request `cookie` any more */
	KHAZANA_REQ_TOUCHED	= 12,/* notice: a unit that was committed with F_MARK is used */
};

/* flags of a request */
#define KHAZANA_REQF_OVERWRITE	(1u << 0) /* contents are not wanted */
#define KHAZANA_REQF_TRY	(1u << 1) /* EAGAIN rather than wait */
#define KHAZANA_REQF_LOCK	(1u << 2) /* for an explicit lock */
#define KHAZANA_REQF_HANDOFF	(1u << 3) /* `version` is that of a frame kept in HANDOFF */
#define KHAZANA_REQF_FRAME	(1u << 4) /* `frame` is valid: where to receive (count is 1; only if few are left) */

/**
 * struct khazana_request - one descriptor, module to khd
 * @id: never used twice by an instance; answers name it
 * @op: enum khazana_req_op
 * @region: the module's handle of the region, 0 for ATTACH
 * @unit: first unit, counted from the region's start
 * @count: units
 * @version: FAULT: version of the copy held, KHAZANA_VERSION_NONE if none
 * @token: token of what the notice is about
 * @cookie: the command's or request's that the notice is about; FAULT with OVERWRITE: serial of the
 *	key that the lock was asked for with
 * @addr: ATTACH: start of the window
 * @length: ATTACH: bytes, 0 to the end
 * @key: ATTACH: the key
 * @want: enum khazana_right
 * @flags: KHAZANA_REQF_*
 * @frame: first frame (index in the daemon view) to receive into
 * @error: REVOKED: result of the REVOKE
 * @uflags: REVOKED: KHAZANA_UNIT_* before the revoke
 * @timeout_ms: how long the waiter will wait at most
 */
struct khazana_request {
	__u64 id;
	__u32 op;
	__u32 region;
	__u64 unit;
	__u64 count;
	__u64 version;
	__u64 token;
	__u64 cookie;
	struct khazana_addr addr;
	__u64 length;
	__u8  key[KHAZANA_KEY_SIZE];
	__u32 want;
	__u32 flags;
	__u32 frame;
	__s32 error;
	__u32 uflags;
	__u32 timeout_ms;
};

enum khazana_cmd_op {
	KHAZANA_CMD_REGION_ADD	= 1, /* region attributes in; handle out; EALREADY: known, same handle */
	KHAZANA_CMD_REGION_SET	= 2, /* change region's attributes */
	KHAZANA_CMD_REGION_DEL	= 3, /* EBUSY while attached, unless F_FORCE: then attachments get ENOENT/SIGBUS */
	KHAZANA_CMD_ATTACH_DONE	= 4, /* request, region, version: the ATTACH succeeds */
	KHAZANA_CMD_COMMIT	= 5, /* region, unit, right, token, version, flags */
	KHAZANA_CMD_REVOKE	= 6, /* region, unit, count, token, right = what may remain, flags */
	KHAZANA_CMD_RELEASE	= 7, /* region, unit, token: the HANDOFF frame (token <= this) may go */
	KHAZANA_CMD_FAIL	= 8, /* request, error: its waiters get the errno; region, unit say which one */
	KHAZANA_CMD_FRAMES	= 9, /* region, unit: a frame to receive into; frame out.  F_TRY: only if STABLE, NONE */
	KHAZANA_CMD_EPOCH	= 10,/* region, token = lowest token of the new epoch: older ones are refused */
	KHAZANA_CMD_LEASE	= 11,/* lease, time_ns: its regions' rights end then; creates the lease if needed */
	KHAZANA_CMD_RESUME	= 12,/* region, unit, token: an expired unit gets its right back, if token is its own */
	KHAZANA_CMD_LOST	= 13,/* region, unit, token: an expired unit is lost: parked, attachments poisoned */
	KHAZANA_CMD_UNIT_GET	= 14,/* region, unit: all out fields; ENOENT if there is no record */
	KHAZANA_CMD_INVENTORY	= 15,/* region, unit = cursor: next record at or after it; ENOENT at the end */
	KHAZANA_CMD_REGION_GET	= 16,/* region = cursor: next region with handle >= it; ENOENT at the end */
	KHAZANA_CMD_STATE	= 17,/* time_ns out = CLOCK_BOOTTIME now; count out = frames in use */
	KHAZANA_CMD_PARKED	= 18,/* cookie = cursor: next parked frame with an id at or above it; ENOENT at the end */
	KHAZANA_CMD_PARKED_DROP	= 19,/* cookie = id: nobody needs that parked frame any more */
	KHAZANA_CMD_SAFE	= 20,/* region, unit, token, version: a store has it: no longer OWNED nor DIRTY */
	KHAZANA_CMD_POISON	= 21,/* region: its attachments may have seen what is lost; not with NOPOISON */
	KHAZANA_CMD_LIMIT	= 22,/* count = limit of frames from now on, 1..view_pages; count out = frames in use */
	KHAZANA_CMD_UNLEND	= 23,/* region, unit: khd has read what F_LEND was for */
};

/* command flags */
#define KHAZANA_CMDF_OWNED	(1u << 0) /* COMMIT: this may be the last copy */
#define KHAZANA_CMDF_DROPPABLE	(1u << 1) /* COMMIT: reclaim may drop it */
#define KHAZANA_CMDF_ZERO	(1u << 2) /* COMMIT: the frame is to be zeroed by the module */
#define KHAZANA_CMDF_HELD	(1u << 3) /* COMMIT: use the current or the HANDOFF frame, whichever has `version_held` */
#define KHAZANA_CMDF_KEEP	(1u << 4) /* REVOKE to NONE: keep the frame in HANDOFF even if not OWNED */
#define KHAZANA_CMDF_LOCK_OK	(1u << 5) /* REVOKE: take it even from an explicit lock (its lease ended) */
#define KHAZANA_CMDF_FORCE	(1u << 6)
#define KHAZANA_CMDF_TRY	(1u << 7)
#define KHAZANA_CMDF_NOPOISON	(1u << 8) /* LOST and region attribute: programs go on, by their own wish */
#define KHAZANA_CMDF_EIO	(1u << 9) /* region attribute: read/write get EIO where a fault gets SIGBUS after the wait limit */
#define KHAZANA_CMDF_MARK	(1u << 10) /* COMMIT: KHAZANA_REQ_TOUCHED when somebody gets to it */
#define KHAZANA_CMDF_LEND	(1u << 11) /* REVOKE to READ, UNIT_GET: khd will read the frame: a DROPPABLE one stays until UNLEND, or the end of khd */
#define KHAZANA_CMDF_DATA	(1u << 12) /* COMMIT: contents come with it, in a new frame: `length` bytes at `data` */

/**
 * struct khazana_cmd - one command, khd to module
 * @op: enum khazana_cmd_op
 * @flags: KHAZANA_CMDF_*
 * @region: handle
 * @right: enum khazana_right; out: right before (REVOKE) or now (UNIT_GET, INVENTORY)
 * @unit: first unit; out of INVENTORY: the unit found
 * @count: units; 0 means 1; out of REGION_GET: attached files
 * @token: the grant's; out of UNIT_GET, INVENTORY: the unit's; out of REVOKE: the one before
 * @version: COMMIT: what the unit will be at; out: of the current frame;
 *	REGION_ADD, REGION_SET, REGION_GET: serial number of the region's key, which only
 *	rises (a lower one is ignored); ATTACH_DONE: of the key that was presented
 * @version_held: COMMIT HELD: version of the frame to use; COMMIT ZERO: version that
 *	the zeros replace, 0 or %KHAZANA_VERSION_NONE: none; out: of the HANDOFF frame
 * @token_handoff: out: token of the HANDOFF frame
 * @floor: out: lowest acceptable token
 * @request: COMMIT, FAIL, ATTACH_DONE: id answered, 0 if none
 * @cookie: REVOKE: comes back in KHAZANA_REQ_REVOKED; PARKED: in: lowest id, out: the id found
 * @frame: COMMIT without DATA, HELD or ZERO: the frame that was received into, ENOENT if it is not the unit's any more; out: view index of the frame to send from or receive into
 *	(REVOKE, FRAMES, UNIT_GET), ~0 if none
 * @frame_handoff: out: view index of the HANDOFF frame, ~0 if none
 * @uflags: out: KHAZANA_UNIT_* (before the command for REVOKE)
 * @state: out: enum khazana_state
 * @result: out: 0 or a negative errno
 * @error: FAIL: positive errno for the waiters, 0 for success
 * @addr: REGION_ADD, REGION_GET: the region's start
 * @length: REGION_ADD, REGION_GET: bytes; COMMIT DATA: those of a unit, else EINVAL
 * @generation: REGION_ADD, REGION_GET: tells one use of an address from the next
 * @time_ns: LEASE: end; STATE: now; out of PARKED: when it was parked
 * @lease: REGION_ADD, REGION_SET, LEASE: id of the lease (chosen by khd, not 0)
 * @unit_shift: REGION_ADD, REGION_GET
 * @wait_ms: REGION_ADD, REGION_SET: limit of a wait for khd; 0 means 30000
 * @residency_us: REGION_ADD, REGION_SET: minimum residency, 0 means the module's choice
 * @data: COMMIT DATA: user address of the unit's contents, read before the command returns
 *
 * A COMMIT with DATA needs no FRAMES before.  It is refused like any other (EBUSY where there is a
 * copy), and with EFAULT if the contents cannot be read; then nothing has changed.  Not with HELD
 * or ZERO (EINVAL).
 *
 * REVOKE answers at once with 0, or EINPROGRESS (see KHAZANA_REQ_REVOKED), EBUSY (explicit lock;
 * KHAZANA_REQ_UNLOCKED will follow), ESTALE (below the floor), ENOENT (the node holds nothing: floor is raised all the same).
 *
 * A parked frame has stores that were lost with their right.  PARKED tells its region, unit, token and
 * version, and where it is in the view; there it stays, also for the next khd, until PARKED_DROP or the end
 * of the region.  Parked frames count against the limit of frames; beyond a limit of their own they are
 * dropped, which the event parked-full tells.
 */
struct khazana_cmd {
	__u32 op;
	__u32 flags;
	__u32 region;
	__u32 right;
	__u64 unit;
	__u64 count;
	__u64 token;
	__u64 version;
	__u64 version_held;
	__u64 token_handoff;
	__u64 floor;
	__u64 request;
	__u64 cookie;
	__u32 frame;
	__u32 frame_handoff;
	__u32 uflags;
	__u32 state;
	__s32 result;
	__u32 error;
	struct khazana_addr addr;
	__u64 length;
	__u64 generation;
	__u64 time_ns;
	__u32 lease;
	__u32 unit_shift;
	__u32 wait_ms;
	__u32 residency_us;
	__u64 data;
};

/**
 * struct khazana_batch - KHAZANA_IOC_COMMAND and KHAZANA_URING_COMMAND
 * @size: sizeof(struct khazana_batch)
 * @count: commands, 1..KHAZANA_CMDS_MAX
 * @cmds: user address of an array of struct khazana_cmd; results are written back
 *
 * Commands run in order, each to its end; one that fails does not stop the next.  Returns how many
 * ran.  Through io_uring a batch may be re-issued from a worker and so run after a later one:
 * tokens and floors make that harmless.  The ioctl never reorders.
 */
struct khazana_batch {
	__u32 size;
	__u32 count;
	__u64 cmds;
};

/* commands of IORING_OP_URING_CMD (sqe->cmd_op); the 16 bytes at sqe->cmd: */
#define KHAZANA_URING_FETCH	1 /* struct khazana_uring_fetch; once per slot; completes with 0 when descriptor `tag` is filled */
#define KHAZANA_URING_COMMAND	2 /* struct khazana_batch */

struct khazana_uring_fetch {
	__u32 tag;		/* index of the descriptor, below depth */
	__u32 reserved[3];	/* zero */
};

/*
 * Without io_uring: read(2) on the registered file returns whole struct
 * khazana_request, as many as fit; it sleeps, or EAGAIN with O_NONBLOCK; poll(2) works.
 */

#define KHAZANA_IOC_MAGIC	0xb5
#define KHAZANA_IOC_ATTACH	_IOWR(KHAZANA_IOC_MAGIC, 1, struct khazana_attach)
#define KHAZANA_IOC_LOCK	_IOWR(KHAZANA_IOC_MAGIC, 2, struct khazana_lock)
#define KHAZANA_IOC_UNLOCK	_IOWR(KHAZANA_IOC_MAGIC, 3, struct khazana_lock)
#define KHAZANA_IOC_PREFETCH	_IOW(KHAZANA_IOC_MAGIC, 4, struct khazana_range)
#define KHAZANA_IOC_FLUSH	_IOW(KHAZANA_IOC_MAGIC, 5, struct khazana_range)
#define KHAZANA_IOC_NETNS	_IOW(KHAZANA_IOC_MAGIC, 6, __s32) /* bind to the instance of a namespace fd; before anything else */
#define KHAZANA_IOC_REGISTER	_IOWR(KHAZANA_IOC_MAGIC, 16, struct khazana_register)
#define KHAZANA_IOC_COMMAND	_IOWR(KHAZANA_IOC_MAGIC, 17, struct khazana_batch)

#endif /* _UAPI_LINUX_KHAZANA_H */
