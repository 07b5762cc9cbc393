// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * space.c - segments, and who may take a slot
 *
 * Each segment belongs to one class or to the pool.  Two bits a slot: live, as the index has it or
 * will; taken, which also has what must not be reused yet.  A slot is taken by its first write, and
 * given back after the checkpoint that freed it: nothing on disk refers to it any more.
 *
 * What is reserved has its blocks, but these are only allocated: the first write to each would cost
 * a commit of the file system's journal, and writes side by side would wait for each other.  So a
 * segment that was never used is filled with zeros before its first slot is taken, and the next
 * one ahead of that, in the background: what nobody ever writes to costs nothing.  It also clears
 * slots that a crash left without their segment's block, which no rebuild could tell from others.
 *
 * What is promised to a class (ranges' units, descriptors, parked units) plus some slack for copy
 * on write makes the segments that it needs; the greater of those and the ones it holds is its
 * charge, and the charges of all fit the capacity.  So a put never lacks space: at worst it waits
 * for a checkpoint.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/store_priv.h"
#include "khd/store/vfs.h"

#define SLACK_MAX 512u
#define ZERO_BYTES 65536u
#define INDEX_BYTES 131072u /* of an index with nothing in it */
#define INDEX_UNIT 240u
#define INDEX_RANGE 288u
#define INDEX_SEGMENT 128u
#define INDEX_PARKED 360u /* beside the row of its class */
#define INDEX_STEP 262144u

int khd_space_init(struct khd_store *store)
{
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++) {
		struct khd_class *c = &store->class[class];

		c->slot_bytes = store->sector;
		if (class != KHD_CLASS_META)
			c->slot_bytes += 1u << class;
		c->slots = (uint32_t)((store->segment_bytes - 2 * store->sector) / c->slot_bytes);
		if (class != KHD_CLASS_META && c->slot_bytes % store->sector)
			c->slots = 0; /* a sector would be two units' */
		c->current = UINT32_MAX;
	}
	return 0;
}

void khd_space_free(struct khd_store *store)
{
	size_t i;

	for (i = 0; i < store->segments.count; i++)
		free(store->segments.at[i].bits);
	free(store->segments.at);
	store->segments.at = NULL;
	store->segments.count = store->segments.capacity = 0;
}

uint64_t khd_space_segment_at(const struct khd_store *store, uint32_t segment)
{
	return store->segments_at + (uint64_t)segment * store->segment_bytes;
}

int khd_space_segment_of(const struct khd_store *store, uint64_t slot)
{
	uint64_t segment;

	if (slot < store->segments_at)
		return -1;
	segment = (slot - store->segments_at) / store->segment_bytes;
	return segment < store->segments.count ? (int)segment : -1;
}

/* The segment, and which of its slots of @class that would be: -1 if it cannot be one. */
static int slot_of_class(const struct khd_store *store, uint64_t slot, unsigned int class,
			 uint32_t *index)
{
	int segment = khd_space_segment_of(store, slot);
	const struct khd_class *c = &store->class[class];
	uint64_t at;

	if (segment < 0 || !c->slots)
		return -1;
	at = slot - khd_space_segment_at(store, (uint32_t)segment);
	if (at < store->sector || (at - store->sector) % c->slot_bytes ||
	    (at - store->sector) / c->slot_bytes >= c->slots)
		return -1;
	*index = (uint32_t)((at - store->sector) / c->slot_bytes);
	return segment;
}

/* The segment, and which slot of it: -1 if there is none there. */
int khd_space_index_of(const struct khd_store *store, uint64_t slot, uint32_t *index)
{
	int segment = khd_space_segment_of(store, slot);

	return segment < 0 ? -1 :
			     slot_of_class(store, slot, store->segments.at[segment].class, index);
}

bool khd_space_fits(const struct khd_store *store, uint64_t slot, unsigned int class)
{
	uint32_t index;

	return class < KHD_CLASSES && slot_of_class(store, slot, class, &index) >= 0;
}

/* ---------------------------------------------------------------- promises */

uint32_t khd_space_need(const struct khd_store *store, unsigned int class, uint64_t units)
{
	const struct khd_class *c = &store->class[class];
	uint64_t slack = 1 + (units / 8 < SLACK_MAX ? units / 8 : SLACK_MAX), need;

	if (!units || !c->slots)
		return 0;
	if (units > UINT64_MAX / 2)
		return UINT32_MAX;
	need = (units + slack + c->slots - 1) / c->slots;
	return need > UINT32_MAX ? UINT32_MAX : (uint32_t)need;
}

uint64_t khd_space_charge(const struct khd_store *store)
{
	uint64_t charge = 0;
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++) {
		const struct khd_class *c = &store->class[class];
		uint32_t need = khd_space_need(store, class, c->units);

		charge += need > c->held ? need : c->held;
	}
	return charge;
}

/* What is promised, whatever is held. */
uint64_t khd_space_promised(const struct khd_store *store)
{
	uint64_t need = 0;
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++)
		need += khd_space_need(store, class, store->class[class].units);
	return need;
}

/*
 * How large the index can become with what is promised.  A row is 79 bytes for a unit, 94 for a
 * range, 110 for a parked unit at most, and SQLite merges a page of a tree with its neighbours when
 * less than a third of it is used.  What a range that falls in two needs more than the units that
 * it lost is less than what those pages have left.
 */
uint64_t khd_space_index_bytes(const struct khd_store *store)
{
	uint64_t bytes = INDEX_BYTES + store->segments.count * (uint64_t)INDEX_SEGMENT +
			 store->parked.count * (uint64_t)INDEX_PARKED;
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++) {
		const struct khd_class *c = &store->class[class];
		uint64_t need = khd_space_need(store, class, c->units);
		size_t bits = khd_space_words(c->slots) * sizeof(uint64_t);

		need = need > c->held ? need : c->held;
		/* What is too long for a page of a tree has pages of its own. */
		bytes += need * (bits < KHD_VFS_PAGE / 8 ? 3 * bits : bits + 2 * KHD_VFS_PAGE);
		bytes += c->units * (class == KHD_CLASS_META ? INDEX_RANGE : INDEX_UNIT);
	}
	return (bytes + INDEX_STEP - 1) / INDEX_STEP * INDEX_STEP;
}

bool khd_space_promise(struct khd_store *store, unsigned int class, uint64_t units)
{
	struct khd_class *c = &store->class[class];

	if (units > UINT64_MAX / 2 - c->units)
		return false;
	c->units += units;
	if (khd_space_charge(store) <= store->segments_max || store->plant == KHD_PLANT_OVERCOMMIT)
		return true;
	c->units -= units;
	return false;
}

void khd_space_unpromise(struct khd_store *store, unsigned int class, uint64_t units)
{
	struct khd_class *c = &store->class[class];

	c->units -= units < c->units ? units : c->units;
}

int khd_space_resize_file(struct khd_store *store, uint32_t segments)
{
	while (store->segments.count < segments) {
		struct khd_segment *seg = khd_push(&store->segments);

		if (!seg)
			return -ENOMEM;
		memset(seg, 0, sizeof(*seg));
	}
	return 0;
}

/* ---------------------------------------------------------------- bitmaps */

static bool test(const uint64_t *bits, uint32_t at)
{
	return bits[at / 64] >> (at % 64) & 1;
}

static bool set(uint64_t *bits, uint32_t at)
{
	bool was = test(bits, at);

	bits[at / 64] |= 1ull << (at % 64);
	return !was;
}

static bool clear(uint64_t *bits, uint32_t at)
{
	bool was = test(bits, at);

	bits[at / 64] &= ~(1ull << (at % 64));
	return was;
}

static uint64_t *taken_bits(const struct khd_store *store, const struct khd_segment *seg)
{
	return seg->bits + khd_space_words(store->class[seg->class].slots);
}

int khd_space_alloc_bits(struct khd_store *store, uint32_t segment)
{
	struct khd_segment *seg = &store->segments.at[segment];

	free(seg->bits);
	seg->bits = calloc(2 * khd_space_words(store->class[seg->class].slots), sizeof(uint64_t));
	return seg->bits ? 0 : -ENOMEM;
}

struct load {
	struct khd_job_of of;
	uint32_t segment;
	uint64_t *bits;
	size_t bytes;
	int ret;
};

static void load_run(struct khd_job *job)
{
	struct load *l = kh_container(job, struct load, of.job);

	l->ret = khd_index_load_bits(l->of.store->index, l->segment, l->bits, l->bytes);
}

static void load_done(struct khd_job *job)
{
	struct load *l = kh_container(job, struct load, of.job);
	struct khd_store *store = l->of.store;
	struct khd_segment *seg = &store->segments.at[l->segment];

	khd_store_enter(store);
	store->jobs--;
	store->loads--;
	seg->loading = false;
	if (l->ret) {
		store->load_next = store->now + KHD_WANT_NS;
		if (khd_is_want(-l->ret))
			khd_store_want(store, -l->ret, "index: bitmap of a segment");
		else
			khd_index_fail(store, l->ret, "index: bitmap of a segment");
		free(l->bits);
	} else {
		if (store->ckpt == KHD_CKPT_IDLE)
			khd_store_wants_nothing(store);
		seg->bits = l->bits;
		memcpy(taken_bits(store, seg), seg->bits, l->bytes);
		seg->taken = seg->live;
	}
	free(l);
	khd_store_leave(store);
}

bool khd_space_load(struct khd_store *store, uint32_t segment)
{
	struct khd_segment *seg = &store->segments.at[segment];
	size_t words = khd_space_words(store->class[seg->class].slots);
	struct load *l;

	if (seg->bits || seg->class == KHD_CLASS_NONE)
		return true;
	/* whoever stops lets no time pass */
	if (seg->loading || (store->now < store->load_next && !store->stopping && !store->stopped))
		return false;
	l = calloc(1, sizeof(*l));
	if (l)
		l->bits = calloc(2 * words, sizeof(uint64_t));
	if (!l || !l->bits) {
		free(l);
		store->load_next = store->now + KHD_WANT_NS;
		khd_store_want(store, ENOMEM, "bitmap of a segment");
		return false;
	}
	l->of = (struct khd_job_of){ { load_run, load_done, NULL }, store };
	l->segment = segment;
	l->bytes = words * sizeof(uint64_t);
	seg->loading = true;
	store->loads++;
	khd_job(store, &l->of.job);
	return false;
}

/* The change that refers to it is applied. */
void khd_space_live(struct khd_store *store, uint64_t slot)
{
	uint32_t index;
	int segment = khd_space_index_of(store, slot, &index);
	struct khd_segment *seg;

	if (segment < 0 || !store->segments.at[segment].bits) {
		khd_store_fail(store, EBADMSG, "no slot", slot);
		return;
	}
	seg = &store->segments.at[segment];
	if (set(seg->bits, index))
		seg->live++;
	if (set(taken_bits(store, seg), index))
		seg->taken++;
	seg->dirty = true;
}

/* Nothing refers to it; to be reused after the next checkpoint. */
void khd_space_dead(struct khd_store *store, uint64_t slot, bool tomb)
{
	struct khd_dead *dead = khd_push(&store->dead);

	if (dead)
		*dead = (struct khd_dead){ slot, tomb };
	else
		khd_store_fail(store, ENOMEM, "free slots", slot);
	if (store->plant == KHD_PLANT_REUSE_LIVE_SLOT && dead) {
		khd_space_clear_live(store, slot);
		khd_space_give_back(store, slot);
	}
}

void khd_space_clear_live(struct khd_store *store, uint64_t slot)
{
	uint32_t index;
	int segment = khd_space_index_of(store, slot, &index);
	struct khd_segment *seg = segment < 0 ? NULL : &store->segments.at[segment];

	if (!seg || !seg->bits)
		return;
	if (clear(seg->bits, index)) {
		seg->live--;
		seg->dirty = true;
	}
}

void khd_space_give_back(struct khd_store *store, uint64_t slot)
{
	uint32_t index;
	int segment = khd_space_index_of(store, slot, &index);
	struct khd_segment *seg = segment < 0 ? NULL : &store->segments.at[segment];

	if (!seg || !seg->bits || test(seg->bits, index))
		return;
	if (clear(taken_bits(store, seg), index))
		seg->taken--;
	if (store->class[seg->class].current == (uint32_t)segment)
		store->class[seg->class].hint = 0;
}

bool khd_space_is_live(struct khd_store *store, uint64_t slot)
{
	uint32_t index;
	int segment = khd_space_index_of(store, slot, &index);

	return segment >= 0 && store->segments.at[segment].bits &&
	       test(store->segments.at[segment].bits, index);
}

/* ---------------------------------------------------------------- segments are assigned */

static void header_done(struct khd_store *store, struct khd_raw *raw, bool ok)
{
	store->headers--;
}

/*
 * Its block, in its first and its last sector; the next flush waits for them.  Without memory the
 * next checkpoint writes them, as after a crash: until then the log says of which class it is.
 */
void khd_space_write_headers(struct khd_store *store, uint32_t segment)
{
	struct khd_segment *seg = &store->segments.at[segment];
	uint64_t at = khd_space_segment_at(store, segment);
	unsigned int i;

	seg->headless = false;
	for (i = 0; i < 2 && !store->error; i++) {
		struct khd_block *block = khd_buffer(store->sector);

		if (block) {
			block->segment.number = htole64(segment);
			khd_block_seal(store, block, KHD_BLOCK_SEGMENT, seg->class, at,
				       store->lsn_next);
		}
		if (khd_raw_try(store, at, block, store->sector, 0, header_done))
			store->headers++;
		else
			seg->headless = true;
		at += store->segment_bytes - store->sector;
	}
}

struct zero {
	struct khd_disk_io io;
	struct iovec iov[KHD_DISK_IOVS];
	struct khd_store *store;
	void *buf;
	uint32_t segment;
	uint64_t left, now;
};

static void zero_next(struct zero *z);

/* Does nobody wait for it? */
static bool is_ahead(const struct zero *z)
{
	return z->store->segments.at[z->segment].class == KHD_CLASS_NONE;
}

static void zero_end(struct zero *z)
{
	struct khd_store *store = z->store;
	struct khd_segment *seg = &store->segments.at[z->segment];

	seg->zeroing = false;
	if (is_ahead(z)) {
		store->filling = false;
		seg->filled = !z->left;
	} else {
		seg->last = seg->class;
		if (!store->error) {
			khd_space_write_headers(store, z->segment);
			khd_space_fill_ahead(store);
		}
	}
	free(z->buf);
	free(z);
}

static void zero_done(struct khd_disk_io *io, int64_t res)
{
	struct zero *z = kh_container(io, struct zero, io);
	struct khd_store *store = z->store;

	khd_store_enter(store);
	store->ios--;
	if (res == -ENOMEM && is_ahead(z)) { /* it is filled when it is needed */
		zero_end(z);
		khd_store_leave(store);
		return;
	}
	if (res < 0 || (uint64_t)res != z->now)
		khd_store_fail(store, EIO, "writing the slot file", io->offset);
	z->left -= z->now;
	if (z->left && !store->error && !(store->stopping && is_ahead(z)))
		zero_next(z);
	else
		zero_end(z);
	khd_store_leave(store);
}

static void zero_next(struct zero *z)
{
	struct khd_store *store = z->store;

	z->io = (struct khd_disk_io){
		.op = KHD_DISK_WRITE, .file = KHD_FILE_SLOTS, .iov = z->iov, .done = zero_done
	};
	z->io.offset = khd_space_segment_at(store, z->segment + 1) - z->left;
	for (z->now = 0; z->now < z->left && z->io.iovs < KHD_DISK_IOVS; z->io.iovs++) {
		uint64_t bytes = z->left - z->now < ZERO_BYTES ? z->left - z->now : ZERO_BYTES;

		z->iov[z->io.iovs] = (struct iovec){ z->buf, bytes };
		z->now += bytes;
	}
	khd_io(store, &z->io);
}

static bool zero_segment(struct khd_store *store, uint32_t segment)
{
	struct zero *z = calloc(1, sizeof(*z));

	if (z)
		z->buf = khd_buffer(ZERO_BYTES);
	if (!z || !z->buf) {
		free(z);
		return false;
	}
	z->store = store;
	z->segment = segment;
	z->left = store->segment_bytes;
	store->segments.at[segment].zeroing = true;
	zero_next(z);
	return true;
}

/* Have its blocks never been written, as far as is known? After a start of khd it is not. */
static bool is_raw(const struct khd_segment *seg)
{
	return seg->last == KHD_CLASS_NONE && !seg->filled;
}

/* Will some class take one more from the pool? */
static bool is_more_needed(const struct khd_store *store)
{
	unsigned int class;

	for (class = KHD_CLASS_META; class < KHD_CLASSES; class ++)
		if (store->class[class].held <
		    khd_space_need(store, class, store->class[class].units))
			return true;
	return false;
}

void khd_space_fill_ahead(struct khd_store *store)
{
	uint32_t i, raw = UINT32_MAX;

	if (store->filling || store->error || store->stopping || !is_more_needed(store))
		return;
	for (i = 0; i < store->segments.count && i < store->segments_max; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		if (seg->class != KHD_CLASS_NONE || seg->last != KHD_CLASS_NONE)
			continue;
		if (seg->filled)
			return; /* one is ready */
		raw = raw == UINT32_MAX ? i : raw;
	}
	if (raw != UINT32_MAX)
		store->filling = zero_segment(store, raw);
}

/*
 * One of the pool: rather one that lies before the capacity and can be used at once, or soon, and
 * never held another class.
 */
static int from_pool(struct khd_store *store, unsigned int class)
{
	int soon = -1, raw = -1, other = -1, behind = -1;
	uint32_t i;

	for (i = 0; i < store->segments.count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		if (seg->class != KHD_CLASS_NONE)
			continue;
		if (i >= store->segments_max)
			behind = behind < 0 ? (int)i : behind;
		else if (seg->zeroing)
			soon = (int)i;
		else if (seg->last == class || (seg->last == KHD_CLASS_NONE && seg->filled))
			return (int)i;
		else if (is_raw(seg))
			raw = raw < 0 ? (int)i : raw;
		else if (other < 0)
			other = (int)i;
	}
	return soon >= 0 ? soon : raw >= 0 ? raw : other >= 0 ? other : behind;
}

static int assign(struct khd_store *store, unsigned int class, uint32_t segment)
{
	struct khd_segment *seg = &store->segments.at[segment];
	/* Where slots of another class were, no block may be mistaken for one of this. */
	bool clears = (seg->last != KHD_CLASS_NONE && seg->last != class) || is_raw(seg);

	seg->class = (uint8_t) class;
	if (khd_space_alloc_bits(store, segment) || (clears && !zero_segment(store, segment))) {
		free(seg->bits);
		seg->bits = NULL;
		seg->class = KHD_CLASS_NONE;
		return -ENOMEM;
	}
	seg->live = seg->taken = 0;
	seg->dirty = true;
	store->class[class].held++;
	if (clears)
		return -EINPROGRESS;
	seg->last = (uint8_t) class;
	khd_space_write_headers(store, segment);
	khd_space_fill_ahead(store);
	return 0;
}

/* ---------------------------------------------------------------- a slot is taken */

static bool take_in(struct khd_store *store, unsigned int class, uint32_t segment, uint64_t *slot)
{
	struct khd_class *c = &store->class[class];
	struct khd_segment *seg = &store->segments.at[segment];
	uint64_t *taken = taken_bits(store, seg);
	uint32_t words = (uint32_t)khd_space_words(c->slots), w, at;

	if (c->current != segment) {
		c->current = segment;
		c->hint = 0;
	}
	for (w = c->hint; w < words; w++) {
		c->hint = w;
		if (!~taken[w])
			continue;
		at = w * 64 + (uint32_t)__builtin_ctzll(~taken[w]);
		if (at >= c->slots)
			continue;
		set(taken, at);
		seg->taken++;
		*slot = khd_space_segment_at(store, segment) + store->sector +
			(uint64_t)at * c->slot_bytes;
		return true;
	}
	return false;
}

static bool usable(const struct khd_store *store, const struct khd_segment *seg, unsigned int class)
{
	return seg->class == class && !seg->zeroing && !seg->retiring && !seg->emptying &&
	       seg->taken < store->class[class].slots;
}

/* The one with most room: -1, none has any. */
static int roomiest(const struct khd_store *store, unsigned int class)
{
	uint32_t i, best = UINT32_MAX;
	int at = -1;

	for (i = 0; i < store->segments.count; i++) {
		const struct khd_segment *seg = &store->segments.at[i];

		if (usable(store, seg, class) && seg->taken < best) {
			best = seg->taken;
			at = (int)i;
		}
	}
	return at;
}

/* Is one of its segments being cleared? */
static bool is_cleared(const struct khd_store *store, unsigned int class)
{
	size_t i;

	for (i = 0; i < store->segments.count; i++)
		if (store->segments.at[i].class == class && store->segments.at[i].zeroing)
			return true;
	return false;
}

static bool something_ends(const struct khd_store *store, unsigned int class)
{
	size_t i;

	for (i = 0; i < store->segments.count; i++)
		if (store->segments.at[i].class == class && store->segments.at[i].retiring)
			return true;
	return store->dead.count || store->purges.count || store->ckpt != KHD_CKPT_IDLE ||
	       !kh_list_empty(&store->order);
}

/*
 * One more segment for a class: 0; -EINPROGRESS: when it is filled; -ENOENT: none, it has what it
 * needs, or the pool is empty; -ENOMEM.
 */
static int one_more(struct khd_store *store, unsigned int class, int *segment)
{
	const struct khd_class *c = &store->class[class];
	uint32_t empties = khd_compact_empties(store, class);
	int pool, ret;

	if (is_cleared(store, class))
		return -EINPROGRESS;
	pool = c->held - empties < khd_space_need(store, class, c->units) ?
		       from_pool(store, class) :
		       -1;
	if (pool < 0 || (pool >= (int)store->segments_max && empties))
		return -ENOENT; /* what is moved there would be moved again */
	if (store->segments.at[pool].zeroing)
		return -EINPROGRESS;
	ret = assign(store, class, (uint32_t)pool);
	if (!ret)
		*segment = pool;
	return ret;
}

/*
 * A free slot: 0; -EAGAIN: there may be one after a checkpoint; -EINPROGRESS: when a segment was
 * filled, -EBUSY: when a bitmap was loaded, whatever checkpoints there are; -ENOSPC: there is none,
 * which no promise allows; -ENOMEM.  The last ones of a class are taken while it gets another
 * segment.
 */
int khd_space_take(struct khd_store *store, unsigned int class, uint64_t *slot)
{
	struct khd_class *c = &store->class[class];
	int segment = (int)c->current, ret;

	if (c->current < store->segments.count &&
	    usable(store, &store->segments.at[segment], class) &&
	    store->segments.at[segment].bits && take_in(store, class, (uint32_t)segment, slot))
		return 0;
	segment = roomiest(store, class);
	if (segment < 0 || c->slots - store->segments.at[segment].taken < c->slots / 16) {
		ret = one_more(store, class, &segment);
		if (segment < 0 && ret != -ENOENT)
			return ret;
	}
	if (segment >= 0) {
		if (!khd_space_load(store, (uint32_t)segment))
			return -EBUSY;
		return take_in(store, class, (uint32_t)segment, slot) ? 0 : -EAGAIN;
	}
	if (khd_compact_empties(store, class)) { /* it is needed after all */
		khd_compact_cancel(store);
		return khd_space_take(store, class, slot);
	}
	if (!something_ends(store, class)) {
		khd_store_say(store, "store", "no slot of class %u, though promised", class);
		return -ENOSPC;
	}
	khd_checkpoint_want(store);
	return -EAGAIN;
}
