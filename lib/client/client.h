/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * client.h - what the files of libkhazana share
 *
 * client.c holds the connection to khd, file.c attached files of the device,
 * lock.c locks, map.c mappings, strerror.c the errno dictionary.
 */
#ifndef KH_CLIENT_H
#define KH_CLIENT_H

#include <pthread.h>
#include <khazana.h>

struct kh_ctl;

#define KH_IDLE_FILES_MAX 16

/**
 * struct kh_file - a file of /dev/khazana, attached to a window
 * @fd: the file
 * @poisoned: never goes back to the idle list
 * @rekeyed: the region's key was changed since it was attached: nor does it then
 * @start: first address of the window
 * @length: bytes of the window
 * @region: first address of the region
 * @key: the key that it was attached with
 * @sync: the region's durability is synchronous
 * @asked_ms: when that was asked, CLOCK_MONOTONIC
 * @next: in the client's idle list
 */
struct kh_file {
	int fd;
	bool poisoned;
	bool rekeyed;
	struct khazana_addr start;
	uint64_t length;
	struct khazana_addr region;
	struct kh_key key;
	bool sync;
	uint64_t asked_ms;
	struct kh_file *next;
};

/**
 * struct kh_mapping - one kh_map()
 * @mem: where
 * @length: bytes
 * @next: in the client's list
 */
struct kh_mapping {
	void *mem;
	size_t length;
	struct kh_mapping *next;
};

/**
 * struct kh_lock - a lock, on a file of its own: that is its context
 */
struct kh_lock {
	struct kh_client *client;
	struct kh_file *file;
	struct khazana_addr addr;
	uint64_t length;
	enum kh_lock_mode mode;
	uint64_t token;
	uint64_t id;
	struct kh_lock *next;
};

/**
 * struct kh_client - a connection to this machine
 * @ctl_mutex: protects @ctl during a whole call; taken alone
 * @ctl: connection to khd, NULL when it must be made again
 * @socket: path of khd's socket; constant
 * @device: path of the device; constant
 * @mutex: protects the lists below
 * @idle: attached files without a lock, most recently used first
 * @idle_count: how many
 * @maps: mappings
 * @locks: locks held
 */
struct kh_client {
	pthread_mutex_t ctl_mutex;
	struct kh_ctl *ctl;
	char *socket;
	char *device;
	pthread_mutex_t mutex;
	struct kh_file *idle;
	unsigned int idle_count;
	struct kh_mapping *maps;
	struct kh_lock *locks;
};

/**
 * kh_addr_offset() - how far @addr lies behind @base
 * @offset: out: bytes
 *
 * Return: false if @addr lies before @base or 2^64 bytes or more behind it.
 */
static inline bool kh_addr_offset(struct khazana_addr base, struct khazana_addr addr,
				  uint64_t *offset)
{
	uint64_t hi = addr.hi - base.hi - (addr.lo < base.lo);

	*offset = addr.lo - base.lo;
	return hi == 0 && (addr.hi > base.hi || (addr.hi == base.hi && addr.lo >= base.lo));
}

/**
 * kh_file_attach() - open the device and bind it to a window
 * @client: the client; its mutex need not be held
 * @addr: first byte wanted; the file's window may begin before it
 * @length: bytes wanted; 0 means to the end of the region
 * @flags: KHAZANA_ATTACH_*
 * @key: the key
 * @file: out: to be freed with kh_file_close()
 *
 * Return: 0, or what ATTACH and open() say.
 */
int kh_file_attach(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		   uint32_t flags, const struct kh_key *key, struct kh_file **file);
void kh_file_close(struct kh_file *file);

/* An idle file whose window covers the range and whose key is @key, or a new one. */
int kh_file_get(struct kh_client *client, struct khazana_addr addr, uint64_t length,
		const struct kh_key *key, struct kh_file **file);
/* Offset of the range in the file's window. Return: 0 or -ERANGE. */
int kh_file_offset(const struct kh_file *file, struct khazana_addr addr, uint64_t length,
		   uint64_t *offset);
/* A range of the window is durable; KHAZANA_FLUSH_*. Return: 0, or what FLUSH says. */
int kh_file_flush(const struct kh_file *file, uint32_t flags, uint64_t offset, uint64_t length);
/*
 * What a call through @file said: EKEYREJECTED from a file that lay idle is about the key it was
 * attached with, not about the caller's.  Return: shall the caller try again, with another file?
 */
bool kh_file_rejected(struct kh_client *client, struct kh_file *file, int err, unsigned int *tries);
/* Back to the idle list; the least recently used one is closed when there are too many. */
void kh_file_put(struct kh_client *client, struct kh_file *file);
/* Close the idle files of the region at @region. */
void kh_file_forget(struct kh_client *client, struct khazana_addr region);

#endif /* KH_CLIENT_H */
