// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * client_test.c - libkhazana against a real khd and a real module
 *
 * Runs on any node of a cluster, as root; prints TAP:
 *
 *   client_test              everything one node can show
 *
 * and, for its script, which starts them on this or another node:
 *
 *   client_test use ADDR     map, store, then wait for a line on stdin
 *   client_test lock ADDR    the same with a WRITE lock
 *   client_test store ADDR   map, add one to the first byte
 *   client_test load ADDR    map, print the first byte
 *   client_test rekey ADDR   change the key
 *   client_test stale ADDR   map, lock and unlock, wait for a line, print what the key is good for
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <khazana.h>

#define PAGE 4096u

static const struct kh_key key = { "client test key" }, wrong = { "not the key" };
static struct kh_client *client;
static unsigned int count, failures;
static sigjmp_buf on_bus;

static void result(bool good, const char *name, const char *detail, int got, int want)
{
	count++;
	if (good) {
		printf("ok %u - %s\n", count, name);
		return;
	}
	failures++;
	printf("not ok %u - %s\n# %s: got %d (%s), want %d\n", count, name, detail, got,
	       kh_strerror(got), want);
}

#define EXPECT(name, call, want)                                   \
	do {                                                       \
		int got_ = (call);                                 \
		result(got_ == (want), name, #call, got_, (want)); \
	} while (0)

static void need(const char *what, int err)
{
	if (!err)
		return;
	printf("Bail out! %s: %s\n", what, kh_strerror(err));
	exit(1);
}

static struct khazana_addr region_new(uint64_t length, uint32_t unit_shift, bool allocate)
{
	struct kh_attr attr = { .unit_shift = unit_shift, .wait_ms = 3000 };
	struct khazana_addr addr;

	need("reserve", kh_reserve(client, length, &attr, &key, &addr));
	if (allocate)
		need("allocate", kh_allocate(client, addr, length, &key));
	return addr;
}

static void bus_handler(int signal)
{
	siglongjmp(on_bus, 1);
}

/* Does a load at @mem end in SIGBUS? */
static bool load_is_bus(const void *mem)
{
	struct sigaction action = { .sa_handler = bus_handler }, old;
	volatile bool bus = true;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(on_bus, 1)) {
		(void)*(const volatile char *)mem;
		bus = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return bus;
}

static void test_reserve(void)
{
	struct kh_attr attr = { .unit_shift = 12 };
	struct kh_region_info info;
	struct khazana_addr addr, other;

	EXPECT("reserve of no bytes", kh_reserve(client, 0, NULL, &key, &addr), -EINVAL);
	attr.unit_shift = 11;
	EXPECT("unit below a page", kh_reserve(client, PAGE, &attr, &key, &addr), -EINVAL);
	attr.unit_shift = 22;
	EXPECT("unit too large", kh_reserve(client, PAGE, &attr, &key, &addr), -EINVAL);
	attr = (struct kh_attr){ .protocol = "nonesuch" };
	EXPECT("unknown protocol", kh_reserve(client, PAGE, &attr, &key, &addr), -EINVAL);
	attr = (struct kh_attr){ .min_replicas = 2 };
	EXPECT("replicas", kh_reserve(client, PAGE, &attr, &key, &addr), -EOPNOTSUPP);
	attr = (struct kh_attr){ .durability = 2 };
	EXPECT("unknown durability", kh_reserve(client, PAGE, &attr, &key, &addr), -EINVAL);
	attr = (struct kh_attr){ .flags = 1 };
	EXPECT("unknown flags", kh_reserve(client, PAGE, &attr, &key, &addr), -EINVAL);
	EXPECT("reserve", kh_reserve(client, 5000, NULL, &key, &addr), 0);
	EXPECT("getattr", kh_getattr(client, kh_addr_add(addr, 6000), &info), 0);
	EXPECT("the length is rounded up", info.length == 2 * PAGE, true);
	EXPECT("defaults are filled in",
	       !strcmp(info.attr.protocol, "crew") && info.attr.unit_shift == 12 &&
		       info.attr.lease_ms && info.attr.wait_ms,
	       true);
	EXPECT("getattr behind the end", kh_getattr(client, kh_addr_add(addr, 2 * PAGE), &info),
	       -ENOENT);
	EXPECT("a second region", kh_reserve(client, PAGE, NULL, &key, &other), 0);
	EXPECT("lies elsewhere", addr.hi == other.hi && addr.lo == other.lo, false);
	EXPECT("unreserve, wrong key", kh_unreserve(client, addr, &wrong), -EKEYREJECTED);
	EXPECT("unreserve inside", kh_unreserve(client, kh_addr_add(addr, PAGE), &key), -EINVAL);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
	EXPECT("unreserve twice", kh_unreserve(client, addr, &key), -ENOENT);
	EXPECT("getattr of nothing", kh_getattr(client, addr, &info), -ENOENT);
	kh_unreserve(client, other, &key);
}

static void test_allocate(void)
{
	struct khazana_addr addr = region_new(16 * PAGE, 12, false);
	struct kh_region_info info;
	struct kh_lock *lock;
	void *mem;

	EXPECT("lock before allocate", kh_lock(client, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock),
	       -ENXIO);
	EXPECT("map before allocate", kh_map(client, addr, 0, PROT_READ, &key, &mem), 0);
	EXPECT("load before allocate is SIGBUS", load_is_bus(mem), true);
	EXPECT("allocate, not aligned", kh_allocate(client, kh_addr_add(addr, 1), PAGE, &key),
	       -EINVAL);
	EXPECT("allocate, odd length", kh_allocate(client, addr, 100, &key), -EINVAL);
	EXPECT("allocate nothing", kh_allocate(client, addr, 0, &key), -EINVAL);
	EXPECT("allocate too much", kh_allocate(client, addr, 17 * PAGE, &key), -ERANGE);
	EXPECT("allocate, wrong key", kh_allocate(client, addr, PAGE, &wrong), -EKEYREJECTED);
	EXPECT("allocate a part", kh_allocate(client, addr, 4 * PAGE, &key), 0);
	EXPECT("allocate again", kh_allocate(client, addr, 8 * PAGE, &key), 0);
	EXPECT("getattr", kh_getattr(client, addr, &info), 0);
	EXPECT("allocated bytes", info.allocated == 8 * PAGE, true);
	EXPECT("load after allocate", load_is_bus(mem), false);
	EXPECT("it reads as zero", *(char *)mem, 0);
	EXPECT("load behind it is SIGBUS", load_is_bus((char *)mem + 8 * PAGE), true);
	EXPECT("unmap", kh_unmap(client, mem), 0);
	EXPECT("unmap twice", kh_unmap(client, mem), -EINVAL);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
	addr = region_new(1ULL << 50, 12, false);
	EXPECT("more than the home has room for", kh_allocate(client, addr, 1ULL << 50, &key),
	       -ENOSPC);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
}

static void test_free(void)
{
	struct khazana_addr addr = region_new(8 * PAGE, 12, true);
	struct kh_lock *lock;
	char *mem;

	need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	memset(mem, 7, 8 * PAGE);
	EXPECT("unreserve while mapped", kh_unreserve(client, addr, &key), -EBUSY);
	need("lock", kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock));
	EXPECT("free under a lock", kh_free(client, addr, PAGE, &key), -EBUSY);
	EXPECT("what is locked is still there", mem[0], 7);
	EXPECT("free of more than what is locked", kh_free(client, addr, 8 * PAGE, &key), -EBUSY);
	EXPECT("frees nothing", load_is_bus(mem + PAGE) || load_is_bus(mem + 7 * PAGE), false);
	EXPECT("and loses nothing", mem[PAGE] + mem[7 * PAGE], 14);
	EXPECT("free, wrong key", kh_free(client, addr, PAGE, &wrong), -EKEYREJECTED);
	EXPECT("unlock", kh_unlock(lock), 0);
	EXPECT("free of mapped pages revokes them", kh_free(client, addr, 2 * PAGE, &key), 0);
	EXPECT("a load there is SIGBUS", load_is_bus(mem), true);
	EXPECT("the rest stays", mem[2 * PAGE], 7);
	EXPECT("allocate again", kh_allocate(client, addr, 2 * PAGE, &key), 0);
	EXPECT("load", load_is_bus(mem), false);
	EXPECT("what was freed never comes back", mem[0], 0);
	kh_unmap(client, mem);
	EXPECT("unreserve when unmapped", kh_unreserve(client, addr, &key), 0);
}

static void test_locks(uint32_t unit_shift)
{
	uint32_t unit = 1u << unit_shift;
	struct khazana_addr addr = region_new(40ULL * unit, unit_shift, true);
	struct khazana_addr deep = kh_addr_add(addr, unit - 3);
	struct kh_lock *lock, *second;
	char text[8], *mem;
	uint64_t token;

	EXPECT("lock of nothing", kh_lock(client, addr, 0, KH_LOCK_READ, 0, 0, &key, &lock),
	       -EINVAL);
	EXPECT("lock of a strange mode", kh_lock(client, addr, 1, 9, 0, 0, &key, &lock), -EINVAL);
	EXPECT("lock with a wrong key", kh_lock(client, addr, 1, KH_LOCK_READ, 0, 0, &wrong, &lock),
	       -EKEYREJECTED);
	EXPECT("lock that leaves the region",
	       kh_lock(client, addr, 41ULL * unit, KH_LOCK_READ, 0, 0, &key, &lock), -ERANGE);
	EXPECT("write lock", kh_lock(client, deep, 6, KH_LOCK_WRITE, 0, 0, &key, &lock), 0);
	token = kh_lock_token(lock);
	EXPECT("write across a unit's end", kh_write(lock, deep, "abcdef", 6), 0);
	EXPECT("read it", kh_read(lock, deep, text, 6), 0);
	EXPECT("it is what was written", memcmp(text, "abcdef", 6), 0);
	EXPECT("write outside the lock", kh_write(lock, kh_addr_add(deep, 1), text, 6), -ERANGE);
	EXPECT("read outside the lock", kh_read(lock, addr, text, 6), -ERANGE);
	EXPECT("second lock, TRY",
	       kh_lock(client, deep, 1, KH_LOCK_READ, KH_LOCK_TRY, 0, &key, &second), -EAGAIN);
	EXPECT("second lock, timeout",
	       kh_lock(client, deep, 1, KH_LOCK_READ, 0, 200, &key, &second), -ETIMEDOUT);
	EXPECT("unlock", kh_unlock(lock), 0);
	EXPECT("read lock", kh_lock(client, deep, 6, KH_LOCK_READ, 0, 0, &key, &lock), 0);
	EXPECT("tokens do not fall", kh_lock_token(lock) >= token, true);
	EXPECT("two readers", kh_lock(client, deep, 6, KH_LOCK_READ, 0, 0, &key, &second), 0);
	EXPECT("write under a read lock", kh_write(lock, deep, "x", 1), -EACCES);
	EXPECT("read", kh_read(second, deep, text, 6), 0);
	EXPECT("the same", memcmp(text, "abcdef", 6), 0);
	EXPECT("unlock", kh_unlock(lock), 0);
	EXPECT("unlock", kh_unlock(second), 0);
	EXPECT("lock of 35 units",
	       kh_lock(client, addr, 35ULL * unit, KH_LOCK_WRITE, 0, 0, &key, &lock), 0);
	EXPECT("unlock", kh_unlock(lock), 0);
	EXPECT("overwrite", kh_lock(client, addr, unit, KH_LOCK_OVERWRITE, 0, 0, &key, &lock), 0);
	EXPECT("read of what was not written", kh_read(lock, deep, text, 3), 0);
	EXPECT("is zero", memcmp(text, "\0\0\0", 3), 0);
	EXPECT("unlock", kh_unlock(lock), 0);
	need("map", kh_map(client, addr, 2ULL * unit, PROT_READ, &key, (void **)&mem));
	EXPECT("what the lock wrote is in the mapping", memcmp(mem + unit, "def", 3), 0);
	kh_unmap(client, mem);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
}

/* What is durable only a power cut shows; here is what each call says. */
static void test_flush(void)
{
	struct khazana_addr addr = region_new(8 * PAGE, 12, false);
	struct kh_attr attr = { .durability = 1 };
	struct kh_region_info info;
	struct kh_lock *lock;
	char *mem;

	need("allocate", kh_allocate(client, addr, 4 * PAGE, &key));
	EXPECT("flush of no bytes", kh_flush(client, addr, 0, &key), -EINVAL);
	EXPECT("flush, wrong key", kh_flush(client, addr, PAGE, &wrong), -EKEYREJECTED);
	EXPECT("flush that leaves the region", kh_flush(client, addr, 9 * PAGE, &key), -ERANGE);
	EXPECT("flush of what nobody stored", kh_flush(client, addr, 4 * PAGE, &key), 0);
	EXPECT("flush over what is not allocated", kh_flush(client, addr, 8 * PAGE, &key), 0);
	EXPECT("flush of nothing else",
	       kh_flush(client, kh_addr_add(addr, 4 * PAGE), 4 * PAGE, &key), 0);
	need("map", kh_map(client, addr, 4 * PAGE, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	memset(mem, 7, 4 * PAGE);
	EXPECT("flush of two bytes in two units",
	       kh_flush(client, kh_addr_add(addr, PAGE - 1), 2, &key), 0);
	EXPECT("msync", msync(mem, 4 * PAGE, MS_SYNC), 0);
	mem[0] = 8;
	EXPECT("a store after a flush stays", mem[0], 8);
	EXPECT("synchronous from now on",
	       kh_setattr(client, addr, &key, KH_ATTR_DURABILITY, &attr, NULL), 0);
	EXPECT("getattr", kh_getattr(client, addr, &info), 0);
	EXPECT("it is set", info.attr.durability, 1);
	need("lock", kh_lock(client, addr, 2 * PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock));
	EXPECT("write", kh_write(lock, addr, "safe", 4), 0);
	EXPECT("unlock waits for the disk", kh_unlock(lock), 0);
	EXPECT("what was written is there", memcmp(mem, "safe", 4), 0);
	need("lock", kh_lock(client, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock));
	EXPECT("unlock of a READ lock", kh_unlock(lock), 0);
	kh_unmap(client, mem);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
	attr = (struct kh_attr){ .durability = 1, .wait_ms = 3000 };
	EXPECT("a synchronous region", kh_reserve(client, PAGE, &attr, &key, &addr), 0);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
}

static void test_map(void)
{
	struct khazana_addr addr = region_new(16ULL << 16, 16, true);
	char *mem, *part;

	EXPECT("map with a wrong key", kh_map(client, addr, 0, PROT_READ, &wrong, (void **)&mem),
	       -EKEYREJECTED);
	EXPECT("map, not aligned",
	       kh_map(client, kh_addr_add(addr, 7), PAGE, PROT_READ, &key, (void **)&mem), -EINVAL);
	EXPECT("map, executable",
	       kh_map(client, addr, PAGE, PROT_READ | PROT_EXEC, &key, (void **)&mem), -EINVAL);
	EXPECT("map too much", kh_map(client, addr, 17ULL << 16, PROT_READ, &key, (void **)&mem),
	       -ERANGE);
	EXPECT("map all", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem), 0);
	EXPECT("map a page inside a 64 KiB unit",
	       kh_map(client, kh_addr_add(addr, (1 << 16) + PAGE), PAGE, PROT_READ, &key,
		      (void **)&part),
	       0);
	strcpy(mem + (1 << 16) + PAGE, "one region, two mappings");
	EXPECT("they are one", strcmp(part, "one region, two mappings"), 0);
	kh_unmap(client, part);
	kh_unmap(client, mem);
	EXPECT("unreserve", kh_unreserve(client, addr, &key), 0);
}

static void test_setattr(void)
{
	struct khazana_addr addr = region_new(PAGE, 12, true);
	struct kh_attr attr = { .wait_ms = 1234, .min_replicas = 3 };
	struct kh_region_info info;
	void *mem;

	EXPECT("setattr of nothing", kh_setattr(client, addr, &key, 0, &attr, NULL), -EINVAL);
	EXPECT("setattr, wrong key", kh_setattr(client, addr, &wrong, KH_ATTR_WAIT_MS, &attr, NULL),
	       -EKEYREJECTED);
	EXPECT("setattr of replicas",
	       kh_setattr(client, addr, &key, KH_ATTR_MIN_REPLICAS, &attr, NULL), -EOPNOTSUPP);
	EXPECT("setattr", kh_setattr(client, addr, &key, KH_ATTR_WAIT_MS, &attr, NULL), 0);
	EXPECT("getattr", kh_getattr(client, addr, &info), 0);
	EXPECT("it is set", info.attr.wait_ms, 1234);
	EXPECT("new key", kh_setattr(client, addr, &key, KH_ATTR_KEY, NULL, &wrong), 0);
	EXPECT("the old key is refused", kh_map(client, addr, 0, PROT_READ, &key, &mem),
	       -EKEYREJECTED);
	EXPECT("the new one is not", kh_map(client, addr, 0, PROT_READ, &wrong, &mem), 0);
	kh_unmap(client, mem);
	EXPECT("unreserve", kh_unreserve(client, addr, &wrong), 0);
}

/* What was attached with the old key, by this client and by another one of this node. */
static void test_rekey(void)
{
	struct khazana_addr addr = region_new(4 * PAGE, 12, true);
	struct kh_lock *lock, *held;
	struct kh_client *other;
	char text[4], *mem;

	need("second client", kh_client_open(NULL, NULL, &other));
	need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	need("lock", kh_lock(other, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock));
	need("unlock", kh_unlock(lock));
	need("lock", kh_lock(client, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock));
	need("lock",
	     kh_lock(client, kh_addr_add(addr, PAGE), PAGE, KH_LOCK_WRITE, 0, 0, &key, &held));
	need("unlock", kh_unlock(lock));
	EXPECT("rekey", kh_setattr(client, addr, &key, KH_ATTR_KEY, NULL, &wrong), 0);
	EXPECT("rekey: a lock with the old key",
	       kh_lock(client, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock), -EKEYREJECTED);
	EXPECT("rekey: of another client",
	       kh_lock(other, addr, PAGE, KH_LOCK_READ, 0, 0, &key, &lock), -EKEYREJECTED);
	EXPECT("rekey: flush with the old key", kh_flush(other, addr, PAGE, &key), -EKEYREJECTED);
	EXPECT("rekey: a lock that is held writes",
	       kh_write(held, kh_addr_add(addr, PAGE), "abc", 4), 0);
	EXPECT("rekey: and reads", kh_read(held, kh_addr_add(addr, PAGE), text, 4), 0);
	EXPECT("rekey: unlock", kh_unlock(held), 0);
	EXPECT("rekey: what is mapped goes on", strcmp(mem + PAGE, "abc"), 0);
	mem[0] = 1;
	EXPECT("rekey: also to the disk", msync(mem, PAGE, MS_SYNC), 0);
	EXPECT("rekey: a lock with the new key",
	       kh_lock(other, addr, PAGE, KH_LOCK_READ, 0, 0, &wrong, &lock), 0);
	EXPECT("rekey: unlock", kh_unlock(lock), 0);
	EXPECT("rekey: flush with the new key", kh_flush(other, addr, PAGE, &wrong), 0);
	/* A file of @other lies idle under the new key: the same key again is right. */
	EXPECT("rekey to the same key", kh_setattr(client, addr, &wrong, KH_ATTR_KEY, NULL, &wrong),
	       0);
	EXPECT("rekey: a lock with it",
	       kh_lock(other, addr, PAGE, KH_LOCK_READ, 0, 0, &wrong, &lock), 0);
	EXPECT("rekey: unlock", kh_unlock(lock), 0);
	EXPECT("rekey: flush with it", kh_flush(other, addr, PAGE, &wrong), 0);
	kh_client_close(other);
	kh_unmap(client, mem);
	EXPECT("unreserve", kh_unreserve(client, addr, &wrong), 0);
}

static void test_text(void)
{
	static const char *const bad[] = {
		"", ":", "1", "1:", ":1", "1:g", "1:1 ", "12345678901234567:0", "0x:1", "1:2:3"
	};
	struct khazana_addr addr = { 0 };
	char text[KH_ADDR_TEXT];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT(bad[i], kh_addr_parse(bad[i], &addr), -EINVAL);
	EXPECT("an address", kh_addr_parse("0xFFFFffff00000001:fffffffffffff000", &addr), 0);
	kh_addr_format(addr, text);
	EXPECT("there and back", strcmp(text, "ffffffff00000001:fffffffffffff000"), 0);
	addr = kh_addr_add(addr, 0x1000);
	EXPECT("carry", addr.hi == 0xffffffff00000002 && addr.lo == 0, true);
}

static void test_null(void)
{
	struct kh_attr attr = { .unit_shift = 12, .protocol = "null", .wait_ms = 3000 };
	struct kh_region_info info;
	struct khazana_addr addr;
	struct kh_lock *lock;
	char *mem;

	need("reserve", kh_reserve(client, 4 * PAGE, &attr, &key, &addr));
	EXPECT("null: getattr", kh_getattr(client, addr, &info), 0);
	EXPECT("null: its protocol", strcmp(info.attr.protocol, "null"), 0);
	need("allocate", kh_allocate(client, addr, 4 * PAGE, &key));
	need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	EXPECT("null: a load of new storage", load_is_bus(mem), false);
	EXPECT("null: reads as zero", mem[0], 0);
	memset(mem, 7, 4 * PAGE);
	EXPECT("null: what was stored is there", mem[3 * PAGE], 7);
	EXPECT("null: lock", kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock), 0);
	EXPECT("null: unlock", kh_unlock(lock), 0);
	EXPECT("null: free", kh_free(client, addr, PAGE, &key), 0);
	EXPECT("null: what was freed is SIGBUS", load_is_bus(mem), true);
	EXPECT("null: the rest stays", mem[PAGE], 7);
	kh_unmap(client, mem);
	EXPECT("null: unreserve", kh_unreserve(client, addr, &key), 0);
}

/* One access on this node, and no more. */
static int touch(const char *verb, const char *text)
{
	struct khazana_addr addr;
	char *mem;

	need(text, kh_addr_parse(text, &addr));
	need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	/* One access that needs WRITE at once: a load before it could see a copy that null leaves. */
	if (!strcmp(verb, "store"))
		__atomic_fetch_add(mem, 1, __ATOMIC_SEQ_CST);
	else
		printf("%d\n", mem[0]);
	kh_unmap(client, mem);
	return 0;
}

/* On another node: lock with a key that is changed meanwhile. */
static int stale(const char *text)
{
	struct khazana_addr addr;
	struct kh_lock *lock;
	int old, flush, new;
	char line[16];
	char *mem;

	need(text, kh_addr_parse(text, &addr));
	need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	need("lock", kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock));
	need("unlock", kh_unlock(lock));
	printf("holding\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		line[0] = 0;
	old = kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock);
	flush = kh_flush(client, addr, PAGE, &key);
	new = kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &wrong, &lock);
	mem[0] = 9;
	printf("old %s, flush %s, new %d, mapped %d\n", old == -EKEYREJECTED ? "refused" : "?",
	       flush == -EKEYREJECTED ? "refused" : "?", new, mem[0]);
	return 0;
}

static int rekey(const char *text)
{
	struct khazana_addr addr;

	need(text, kh_addr_parse(text, &addr));
	need("setattr", kh_setattr(client, addr, &key, KH_ATTR_KEY, NULL, &wrong));
	return 0;
}

/* On another node: hold the region mapped, or locked, until told to go on. */
static int hold(const char *verb, const char *text)
{
	struct kh_lock *lock = NULL;
	struct khazana_addr addr;
	char line[16];
	char *mem = NULL;

	need(text, kh_addr_parse(text, &addr));
	if (!strcmp(verb, "lock"))
		need("lock", kh_lock(client, addr, PAGE, KH_LOCK_WRITE, 0, 0, &key, &lock));
	else
		need("map", kh_map(client, addr, 0, PROT_READ | PROT_WRITE, &key, (void **)&mem));
	if (mem)
		mem[0]++;
	printf("holding\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		line[0] = 0;
	if (lock)
		need("unlock", kh_unlock(lock));
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	need("khd", kh_client_open(NULL, NULL, &client));
	if (argc == 3 && (!strcmp(argv[1], "store") || !strcmp(argv[1], "load")))
		return touch(argv[1], argv[2]);
	if (argc == 3 && !strcmp(argv[1], "rekey"))
		return rekey(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "stale"))
		return stale(argv[2]);
	if (argc == 3)
		return hold(argv[1], argv[2]);
	test_text();
	test_reserve();
	test_allocate();
	test_free();
	test_flush();
	test_locks(12);
	test_locks(16);
	test_map();
	test_setattr();
	test_rekey();
	test_null();
	kh_client_close(client);
	printf("1..%u\n", count);
	return failures != 0;
}
