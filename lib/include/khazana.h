/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * khazana.h - libkhazana, the C interface to Khazana's global address space
 *
 * A *region* is a contiguous range of a 128-bit address space that all nodes of
 * a cluster share.  It is reserved (an address, a key, a protocol), then storage
 * is allocated for it or for parts, then it is used in one of two ways:
 *
 *   - mapped with kh_map(): plain loads and stores, coherent between nodes;
 *   - under locks: kh_lock(), kh_read(), kh_write(), kh_unlock().
 *
 * Every function that can fail returns 0 or a negative errno of the dictionary
 * in <linux/khazana.h>; kh_strerror() explains it.  Beside those that are named with
 * a function, each that has a client can return -EACCES (this process may not use
 * khd's socket or the device), -ENOMEM, -EMFILE, -ENFILE, -ESHUTDOWN (the network
 * namespace is gone) and -EPROTO (khd is of another version).  After -EPROTO, -ENODEV
 * and -ETIMEDOUT khd may have done what it was asked.
 *
 * A struct kh_client may be used by several threads at once; a struct kh_lock belongs
 * to whoever took it and must not be used by two threads at the same time.  Nothing
 * here prints, exits, or installs a signal handler: a mapped access that cannot be
 * satisfied raises SIGBUS, as with any file mapping that has lost its store.
 */
#ifndef KHAZANA_H
#define KHAZANA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/khazana.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KH_NAME_MAX 16 /* bytes of a protocol's name, with the NUL */
#define KH_KEY_SIZE KHAZANA_KEY_SIZE

/**
 * struct kh_key - the 128-bit key of a region
 * @bytes: all zero is a key like any other
 */
struct kh_key {
	uint8_t bytes[KH_KEY_SIZE];
};

/* bits for kh_setattr(): which members of struct kh_attr to change */
#define KH_ATTR_LEASE_MS (1u << 0)
#define KH_ATTR_KEY (1u << 1)
#define KH_ATTR_MIN_REPLICAS (1u << 2)
#define KH_ATTR_DURABILITY (1u << 3)
#define KH_ATTR_WAIT_MS (1u << 4)
#define KH_ATTR_FLAGS (1u << 5)

/**
 * struct kh_attr - attributes of a region that its users choose
 * @protocol: name of the consistency manager; empty means "crew"
 * @unit_shift: log2 of the unit of coherence in bytes; 0 means 12
 * @lease_ms: how long a right outlives contact with the home; 0 means the node's default
 * @wait_ms: how long a fault waits for khd or for a lock of another node; 0 means 30000
 * @min_replicas: 1, or 0 for the default (more is EOPNOTSUPP: there is no replication)
 * @durability: 0 asynchronous: the home has stores made durable within its flush_ms; 1
 *	synchronous: kh_unlock() waits until they are
 * @flags: KHAZANA_CMDF_NOPOISON, KHAZANA_CMDF_EIO
 */
struct kh_attr {
	char protocol[KH_NAME_MAX];
	uint32_t unit_shift;
	uint32_t lease_ms;
	uint32_t wait_ms;
	uint32_t min_replicas;
	uint32_t durability;
	uint32_t flags;
};

/**
 * struct kh_region_info - what is known of a region; never its key
 * @start: first address
 * @length: bytes
 * @generation: tells one use of an address from the next
 * @allocated: bytes that have storage; ~0 when asked at a node that is not the home
 * @epoch: of its home; 0 when asked at a node that is not the home
 * @home: id of the node that keeps its directory
 * @attr: its attributes
 */
struct kh_region_info {
	struct khazana_addr start;
	uint64_t length;
	uint64_t generation;
	uint64_t allocated;
	uint64_t epoch;
	uint32_t home;
	struct kh_attr attr;
};

struct kh_client;
struct kh_lock;

/**
 * kh_client_open() - connect to this machine's khd
 * @socket: path of khd's control socket; NULL means $KHAZANA_SOCKET, else /run/khazana/khd.sock
 * @device: path of the module's device; NULL means $KHAZANA_DEVICE, else /dev/khazana
 * @client: out
 *
 * The device is opened when it is first needed.  A connection that drops, since khd was
 * restarted, is made again by the next call.
 *
 * Return: 0, -ENODEV (no khd answers), -ENAMETOOLONG (@socket), or as every function above.
 */
int kh_client_open(const char *socket, const char *device, struct kh_client **client);

/**
 * kh_client_close() - let go of a client
 * @client: NULL is allowed
 *
 * Locks must have been unlocked and mappings unmapped before; those that were not are
 * released here, and their handles become invalid.
 */
void kh_client_close(struct kh_client *client);

/**
 * kh_reserve() - reserve address space for a new region; no storage yet
 * @client: the client
 * @length: bytes; rounded up to the unit; not 0
 * @attr: attributes; NULL for the defaults
 * @key: the region's key; NULL means all zero
 * @addr: out: first address of the region
 *
 * The node that serves this call becomes the region's home.
 *
 * Return: 0, -EINVAL (length, unit, unknown protocol), -EOPNOTSUPP (an attribute that
 * this version cannot honour), -ENOSPC (no address space), -ENODEV, -ETIMEDOUT.
 */
int kh_reserve(struct kh_client *client, uint64_t length, const struct kh_attr *attr,
	       const struct kh_key *key, struct khazana_addr *addr);

/**
 * kh_unreserve() - give a region back
 * @client: the client
 * @addr: its first address
 * @key: its key
 *
 * Return: 0, -ENOENT, -EKEYREJECTED, -EBUSY (attached, mapped or locked on some node), -ENODEV,
 * -ETIMEDOUT.
 */
int kh_unreserve(struct kh_client *client, struct khazana_addr addr, const struct kh_key *key);

/**
 * kh_allocate() - give storage to a region or to a part of it
 * @client: the client
 * @addr: first byte; a multiple of the unit
 * @length: bytes; a multiple of the unit
 * @key: the region's key
 *
 * What has storage already is left as it is; new storage reads as zero.
 *
 * Return: 0, -EINVAL (alignment), -ERANGE (leaves the region), -ENOENT, -EKEYREJECTED,
 * -ENOSPC (the home has no room), -ENOMEM (the store has no memory for it), -ENODEV, -ETIMEDOUT.
 */
int kh_allocate(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		const struct kh_key *key);

/**
 * kh_free() - take the storage of a range back; its contents are gone
 *
 * Copies that nodes have mapped are revoked first; a later access gets SIGBUS or -ENXIO.
 * Parameters and errors are those of kh_allocate(), and -EBUSY when a part is under an explicit
 * lock.
 */
int kh_free(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	    const struct kh_key *key);

/**
 * kh_getattr() - what is known of the region that holds @addr
 *
 * Return: 0, -ENOENT, -ENODEV, -ETIMEDOUT.  A key is never given out.
 */
int kh_getattr(struct kh_client *client, struct khazana_addr addr, struct kh_region_info *info);

/**
 * kh_setattr() - change attributes of a region
 * @client: the client
 * @addr: an address in it
 * @key: its key
 * @mask: KH_ATTR_*: what to change
 * @attr: the values; may be NULL when @mask is KH_ATTR_KEY alone
 * @new_key: with KH_ATTR_KEY: the key from now on
 *
 * When the key was changed, locks that are held and what is mapped stay; no kh_lock() or kh_flush()
 * with the old key succeeds on any node any more.  That is waited for: a node out of reach may go
 * on by the old one until its lease ends.  -ETIMEDOUT: a change may have been made, or will be in a
 * moment.
 *
 * Return: 0, -EINVAL, -EOPNOTSUPP, -ENOENT, -EKEYREJECTED, -ENODEV, -EIO (the home could not write
 * it down: nothing is changed), -ETIMEDOUT.
 */
int kh_setattr(struct kh_client *client, struct khazana_addr addr, const struct kh_key *key,
	       uint32_t mask, const struct kh_attr *attr, const struct kh_key *new_key);

enum kh_lock_mode {
	KH_LOCK_READ = KHAZANA_LOCK_READ, /* shared */
	KH_LOCK_WRITE = KHAZANA_LOCK_WRITE, /* exclusive */
	KH_LOCK_OVERWRITE =
		KHAZANA_LOCK_OVERWRITE, /* exclusive; nothing is fetched, reads as zero */
};

#define KH_LOCK_TRY KHAZANA_LOCK_TRY

/**
 * kh_lock() - lock a range of one region
 * @client: the client
 * @addr: first byte
 * @length: bytes, not 0; the range is widened to whole units
 * @mode: enum kh_lock_mode
 * @flags: KH_LOCK_TRY: -EAGAIN instead of waiting for another holder
 * @timeout_ms: 0 means the region's wait_ms
 * @key: the region's key; the one of this moment, however often a lock was had with an older one
 * @lock: out: the lock; kh_unlock() frees it
 *
 * Each lock is a context of its own: two locks conflict even when one thread took both.
 * Locks are advisory for plain mapped access on the same node; on other nodes a fault waits
 * until the unlock.  A WRITE lock taken by a holder of a READ lock on the same range waits for
 * itself: unlock first.
 *
 * Return: 0, -EINVAL, -ERANGE, -ENOENT, -ENXIO (not allocated), -EKEYREJECTED, -EAGAIN, -ETIMEDOUT,
 * -EDEADLK (it would close a cycle of locks that wait for each other on this node), -EIO, -ESTALE
 * (the lease ended meanwhile, with stores unsaved: lock again), -ENODEV, -EINTR, -ENOMEM.
 */
int kh_lock(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	    enum kh_lock_mode mode, uint32_t flags, uint32_t timeout_ms, const struct kh_key *key,
	    struct kh_lock **lock);

/**
 * kh_lock_token() - the fencing token of a lock
 *
 * Grows with every grant of the region: give it to what you change outside Khazana,
 * and let that refuse a token lower than one it has seen.
 */
uint64_t kh_lock_token(const struct kh_lock *lock);

/**
 * kh_unlock() - release a lock and free it, whatever is returned
 *
 * In a region of synchronous durability the unlock of a WRITE or OVERWRITE lock first makes its
 * range durable, as kh_flush() does, and holds the lock meanwhile: what the next holder sees is
 * safe, if a store keeps it (see there).  A change of that attribute by another process is taken in
 * within a second.
 *
 * Return: 0, or -ESTALE: the lease had ended while the lock was held; what was written
 * after that is not part of the region; or an error of kh_flush(): it is released, and others see
 * what was written, but a crash may undo it.  If both failed it is -ESTALE, which says more: what
 * is not part of the region need not be durable.
 */
int kh_unlock(struct kh_lock *lock);

/**
 * kh_flush() - make a range durable
 * @client: the client
 * @addr: first byte
 * @length: bytes, not 0; the range is widened to whole units
 * @key: the region's key
 *
 * When it returns 0, whatever this caller could have read in the range before the call is on the
 * disk of the node that keeps it, whoever stored it, on whichever node.  msync(MS_SYNC) of a
 * mapping (see kh_map() for those of PROT_READ) and fsync() of an attached file do the same.  No
 * order between units is kept across a crash beyond that.
 *
 * What no node's store keeps is not made durable by anything, and 0 is returned all the same, at
 * once: storage that was allocated where neither that node nor the region's home had a store
 * ("khadm page show" names no place).  What is not allocated holds nothing: it is passed over, as
 * the holes of a file are.
 *
 * Return: 0, -EINVAL, -ERANGE (not all in the region), -ENOENT, -EKEYREJECTED, -EIO (a disk failed
 * or the store is out of service), -ETIMEDOUT, -ESTALE, -ENODEV, -ENOMEM.
 */
int kh_flush(struct kh_client *client, struct khazana_addr addr, uint64_t length,
	     const struct kh_key *key);

/**
 * kh_read() - copy bytes of the locked range out of the region
 *
 * Return: 0, -ERANGE (outside the lock), -EIO, -ESTALE, -ETIMEDOUT, -EFAULT, -EINTR, -ENODEV,
 * -ENOENT (the region was given back by force), -ENXIO, -ENOMEM.
 */
int kh_read(struct kh_lock *lock, struct khazana_addr addr, void *buf, size_t length);

/**
 * kh_write() - copy bytes into the locked range
 *
 * Return: as kh_read(), and -EACCES when the lock is a READ lock.
 */
int kh_write(struct kh_lock *lock, struct khazana_addr addr, const void *buf, size_t length);

/**
 * kh_map() - map a range of a region into this process
 * @client: the client
 * @addr: first byte; a multiple of the machine's page
 * @length: bytes; 0 means to the end of the region
 * @prot: PROT_READ, or PROT_READ | PROT_WRITE
 * @key: the region's key
 * @mem: out: where it is
 *
 * What is mapped with PROT_READ cannot be made writable by mprotect().  msync(MS_SYNC) of it makes
 * durable what can be read in it (kh_flush()), unless /dev/khazana may only be read by this process:
 * Linux does not pass on the msync() of such a mapping and returns 0; use kh_flush() there.
 *
 * Return: 0, -EINVAL, -ERANGE, -ENOENT, -EKEYREJECTED, -ENODEV, -ETIMEDOUT, -ENOMEM.
 */
int kh_map(struct kh_client *client, struct khazana_addr addr, uint64_t length, int prot,
	   const struct kh_key *key, void **mem);

/**
 * kh_unmap() - undo one kh_map()
 * @mem: what kh_map() gave
 *
 * Return: 0, or -EINVAL: not such a mapping.
 */
int kh_unmap(struct kh_client *client, void *mem);

/**
 * kh_strerror() - one sentence about an errno, in Khazana's terms
 * @error: negative or positive
 *
 * Return: a static string, never NULL.
 */
const char *kh_strerror(int error);

/* An address as text, "hi:lo" in hexadecimal; KH_ADDR_TEXT bytes with the NUL. */
#define KH_ADDR_TEXT 34
void kh_addr_format(struct khazana_addr addr, char text[KH_ADDR_TEXT]);

/* Return: 0, or -EINVAL.  Accepts "hi:lo" in hexadecimal, with or without 0x. */
int kh_addr_parse(const char *text, struct khazana_addr *addr);

/* @addr + @offset; wraps like any 128-bit sum. */
static inline struct khazana_addr kh_addr_add(struct khazana_addr addr, uint64_t offset)
{
	struct khazana_addr sum = { addr.hi, addr.lo + offset };

	sum.hi += sum.lo < addr.lo;
	return sum;
}

#ifdef __cplusplus
}
#endif

#endif /* KHAZANA_H */
