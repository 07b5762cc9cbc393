// SPDX-License-Identifier: GPL-2.0-or-later
/* disk_sim.c - a disk in memory that crashes, tears, reorders and fails, from a seed */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "khd/store/crc32c.h"
#include "selftests/store/disk_sim.h"

enum pending_kind {
	PENDING_DATA, /* whole sectors, as they are with this write */
	PENDING_SIZE, /* a new size */
	PENDING_REMOVE, /* the file is gone: size 0 */
};

/**
 * struct disk_pending - what is not durable yet
 * @kind: what
 * @file: where
 * @offset: of the data
 * @len: of the data
 * @size: the new one
 * @data: owned
 * @io: of which operation, NULL: a synchronous one
 * @completed: clock of its completion, 0: in flight
 */
struct disk_pending {
	enum pending_kind kind;
	enum khd_disk_file file;
	uint64_t offset, len, size;
	uint8_t *data;
	const struct khd_disk_io *io;
	uint64_t completed;
};

/* How one crash chooses. */
enum draw_mode {
	DRAW_NONE,
	DRAW_ALL,
	DRAW_SECTORS, /* each with a probability */
	DRAW_WRITES, /* each write whole or not at all */
	DRAW_FIRST, /* those before the limit, and a part of the one at it */
	DRAW_LAST, /* those after the limit, and a part of the one at it */
	DRAW_MODES
};

struct draw {
	enum draw_mode mode;
	unsigned int permille;
	size_t limit; /* in data writes */
	uint64_t metas; /* so many changes of size or name made it */
	uint64_t cut[KHD_FILES]; /* data behind it did not make it: a cut before them did not */
	struct rng rng;
};

static void *get(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort(); /* a test without memory tests nothing */
	return p;
}

static struct disk_sim *sim_of(struct khd_disk *disk)
{
	return (struct disk_sim *)disk;
}

static void breaks(struct disk_sim *sim, const char *what)
{
	if (!sim->broken)
		sim->broken = what;
}

static void trace(struct disk_sim *sim, uint64_t what, uint64_t a, uint64_t b, int64_t res)
{
	uint64_t word[] = { sim->trace, what, a, b, (uint64_t)res };
	struct rng r = { .state = khd_crc32c(0, word, sizeof(word)) ^ sim->trace };

	sim->trace = rng_next(&r);
}

static void point(struct disk_sim *sim)
{
	if (sim->point && !sim->dead)
		sim->point(sim->point_arg);
}

/* ------------------------------------------------------------ faults */

void disk_sim_fail(struct disk_sim *sim, enum disk_fault fault, uint64_t at, uint64_t count)
{
	sim->fault = fault;
	sim->fault_at = at;
	sim->fault_for = count;
}

/* Counts an operation that @fault concerns; true when it is to fail. */
static bool fails(struct disk_sim *sim, enum disk_fault fault)
{
	if (sim->fault != fault || !sim->fault_for)
		return false;
	if (sim->fault_at > 1) {
		sim->fault_at--;
		return false;
	}
	sim->fault_for--;
	sim->counts.faults++;
	return true;
}

/* ------------------------------------------------------------ pending writes */

static struct disk_pending *add(struct disk_sim *sim, enum pending_kind kind,
				enum khd_disk_file file)
{
	struct disk_pending *p;

	if (sim->pending_count == sim->pending_room) {
		sim->pending_room = sim->pending_room * 2 + 16;
		sim->pending = realloc(sim->pending, sim->pending_room * sizeof(*sim->pending));
		if (!sim->pending)
			abort();
	}
	p = &sim->pending[sim->pending_count++];
	*p = (struct disk_pending){ .kind = kind, .file = file };
	if (sim->counts.pending_most < sim->pending_count)
		sim->counts.pending_most = sim->pending_count;
	return p;
}

static void add_meta(struct disk_sim *sim, enum pending_kind kind, enum khd_disk_file file,
		     uint64_t size)
{
	struct disk_pending *p = add(sim, kind, file);

	p->size = size;
	p->completed = ++sim->clock;
	if (size < sim->now[file].size)
		image_cut(&sim->now[file], size);
	sim->now[file].size = size;
}

/* The sectors that a synchronous write touches, with what they hold after it. */
static void add_sync(struct disk_sim *sim, enum khd_disk_file file, uint64_t offset,
		     const void *buf, size_t len)
{
	struct image *now = &sim->now[file];
	struct disk_pending *p;

	if (!len)
		return;
	image_write(now, offset, buf, len);
	p = add(sim, PENDING_DATA, file);
	p->offset = offset / sim->atom * sim->atom;
	p->len = (offset + len + sim->atom - 1) / sim->atom * sim->atom - p->offset;
	p->data = get(p->len);
	p->completed = ++sim->clock;
	image_read(now, p->offset, p->data, p->len);
	if (offset + len > now->size)
		add_meta(sim, PENDING_SIZE, file, offset + len);
}

/* Does sector @i of data write @nth make it? */
static bool drawn(struct draw *d, size_t nth, uint64_t i, uint64_t sectors, bool whole)
{
	switch (d->mode) {
	case DRAW_NONE:
		return false;
	case DRAW_ALL:
		return true;
	case DRAW_SECTORS:
		return rng_chance(&d->rng, d->permille);
	case DRAW_WRITES:
		return whole;
	case DRAW_FIRST:
		return nth < d->limit || (nth == d->limit && rng_chance(&d->rng, 500));
	case DRAW_LAST:
		return nth > d->limit || (nth == d->limit && rng_chance(&d->rng, 500));
	default:
		abort();
	}
}

static void apply_data(struct image *img, const struct disk_pending *p, struct draw *d, size_t nth,
		       unsigned int atom)
{
	uint64_t sectors = p->len / atom, i, from = 0;
	bool whole = rng_chance(&d->rng, 500), run = false, yes;

	for (i = 0; i <= sectors; i++) {
		yes = i < sectors && p->offset + i * atom < d->cut[p->file] &&
		      drawn(d, nth, i, sectors, whole);
		if (yes && !run)
			from = i;
		if (!yes && run)
			image_write(img, p->offset + from * atom, p->data + from * atom,
				    (i - from) * atom);
		run = yes;
	}
}

static void apply_meta(struct image *img, const struct disk_pending *p, struct draw *d)
{
	if (!d->metas) {
		if (p->size < d->cut[p->file])
			d->cut[p->file] = p->size;
		return;
	}
	d->metas--;
	if (p->size < img->size)
		image_cut(img, p->size);
	img->size = p->size;
}

/* Does a flush of @file (KHD_FILES: of all) that was submitted at @until cover it? */
static bool covered(const struct disk_pending *p, unsigned int file, uint64_t until)
{
	return until == UINT64_MAX ||
	       (p->completed && p->completed <= until && (file == KHD_FILES || file == p->file));
}

/* Bring to @durable what was drawn of what a flush of @file at @until covers. */
static void apply(const struct disk_sim *sim, struct image *durable, struct draw *d,
		  unsigned int file, uint64_t until)
{
	size_t i, nth = 0;

	for (i = 0; i < KHD_FILES; i++)
		d->cut[i] = UINT64_MAX;
	for (i = 0; i < sim->pending_count; i++) {
		const struct disk_pending *p = &sim->pending[i];

		if (!covered(p, file, until))
			continue;
		if (p->kind == PENDING_DATA)
			apply_data(&durable[p->file], p, d, nth++, sim->atom);
		else
			apply_meta(&durable[p->file], p, d);
	}
}

static void forget(struct disk_sim *sim, unsigned int file, uint64_t until)
{
	size_t i, kept = 0;

	for (i = 0; i < sim->pending_count; i++) {
		struct disk_pending *p = &sim->pending[i];

		if (covered(p, file, until))
			free(p->data);
		else
			sim->pending[kept++] = *p;
	}
	sim->pending_count = kept;
}

static size_t count(const struct disk_sim *sim, bool data)
{
	size_t i, n = 0;

	for (i = 0; i < sim->pending_count; i++)
		n += (sim->pending[i].kind == PENDING_DATA) == data;
	return n;
}

static void draw_begin(const struct disk_sim *sim, struct draw *d, enum disk_crash how,
		       uint64_t seed)
{
	static const unsigned int permilles[] = { 50, 500, 950 };

	*d = (struct draw){ .rng.state = seed };
	if (how == DISK_LOST) {
		d->mode = DRAW_NONE;
	} else if (how == DISK_ALL) {
		d->mode = DRAW_ALL;
		d->metas = UINT64_MAX;
	} else {
		d->mode = rng_range(&d->rng, DRAW_SECTORS, DRAW_MODES - 1);
		d->permille = permilles[rng_below(&d->rng, 3)];
		d->limit = rng_below(&d->rng, count(sim, true) + 1);
		d->metas = rng_below(&d->rng, count(sim, false) + 1);
	}
}

static int flush(struct disk_sim *sim, unsigned int file, uint64_t until)
{
	struct draw d;
	bool failed;

	sim->counts.flushes++;
	if (sim->flush_failed)
		return -EIO;
	failed = sim->flush_failed = fails(sim, DISK_EIO_FLUSH);
	draw_begin(sim, &d, failed ? DISK_DRAWN : DISK_ALL, failed ? rng_next(&sim->rng) : 0);
	apply(sim, sim->durable, &d, file, until);
	forget(sim, file, until);
	return failed ? -EIO : 0;
}

/* ------------------------------------------------------------ synchronous calls */

static int64_t sim_read(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset, void *buf,
			size_t len)
{
	struct disk_sim *sim = sim_of(disk);
	uint64_t size = sim->now[file].size;

	if (sim->dead)
		return -EIO;
	sim->counts.reads++;
	len = offset >= size ? 0 : len < size - offset ? len : size - offset;
	if (fails(sim, DISK_EIO_READ))
		return -EIO;
	if (len && fails(sim, DISK_SHORT_READ))
		len = rng_below(&sim->rng, len);
	image_read(&sim->now[file], offset, buf, len);
	sim->counts.bytes_read += len;
	return (int64_t)len;
}

/* How much of a write is done, and what it returns. */
static int64_t write_result(struct disk_sim *sim, size_t len, size_t *part)
{
	*part = len;
	if (fails(sim, DISK_ENOSPC)) {
		*part = 0;
		return -ENOSPC;
	}
	if (fails(sim, DISK_EIO_WRITE)) {
		*part = rng_below(&sim->rng, len / sim->atom + 1) * sim->atom;
		return -EIO;
	}
	if (len && fails(sim, DISK_SHORT_WRITE))
		*part = len > sim->atom ? rng_below(&sim->rng, len / sim->atom) * sim->atom : 0;
	return (int64_t)*part;
}

/* What was reserved for a file is all that it may need. */
static void check_reserved(struct disk_sim *sim, enum khd_disk_file file, uint64_t end)
{
	uint64_t reserved = sim->reserved[file];

	if (reserved && end > reserved && end > sim->now[file].size)
		breaks(sim, "a file grew beyond the space that was reserved for it");
}

static int64_t sim_write(struct khd_disk *disk, enum khd_disk_file file, uint64_t offset,
			 const void *buf, size_t len)
{
	struct disk_sim *sim = sim_of(disk);
	size_t part;
	int64_t res;

	if (sim->dead)
		return -EIO;
	sim->counts.writes++;
	if (file == KHD_FILE_SLOTS && (offset | len) % sim->base.sector)
		breaks(sim, "a write of blocks that are not whole sectors");
	check_reserved(sim, file, offset + len);
	res = write_result(sim, len, &part);
	add_sync(sim, file, offset, buf, part);
	sim->counts.bytes_written += part;
	trace(sim, KHD_DISK_WRITE * 8 + file, offset, khd_crc32c(0, buf, len), res);
	point(sim);
	return res;
}

static int sim_flush(struct khd_disk *disk)
{
	struct disk_sim *sim = sim_of(disk);
	int ret;

	if (sim->dead)
		return -EIO;
	ret = flush(sim, KHD_FILES, ++sim->clock);
	trace(sim, KHD_DISK_FLUSH * 8, 0, 0, ret);
	point(sim);
	return ret;
}

static int64_t sim_size(struct khd_disk *disk, enum khd_disk_file file)
{
	struct disk_sim *sim = sim_of(disk);

	return sim->dead ? -EIO : (int64_t)sim->now[file].size;
}

static int sim_resize(struct khd_disk *disk, enum khd_disk_file file, uint64_t size)
{
	struct disk_sim *sim = sim_of(disk);
	int ret = 0;

	if (sim->dead)
		return -EIO;
	sim->counts.resizes++;
	if (file == KHD_FILE_SLOTS && size % sim->base.sector)
		breaks(sim, "a size that is not whole sectors");
	if (fails(sim, DISK_ENOSPC))
		ret = -ENOSPC;
	else if (fails(sim, DISK_EIO_WRITE))
		ret = -EIO;
	else
		add_meta(sim, PENDING_SIZE, file, size);
	trace(sim, 64, file, size, ret);
	point(sim);
	return ret;
}

static int sim_reserve(struct khd_disk *disk, enum khd_disk_file file, uint64_t size)
{
	struct disk_sim *sim = sim_of(disk);
	int ret = 0;

	if (sim->dead)
		return -EIO;
	if (fails(sim, DISK_ENOSPC))
		ret = -ENOSPC;
	else if (fails(sim, DISK_EIO_WRITE))
		ret = -EIO;
	else if (size > sim->reserved[file])
		sim->reserved[file] = size;
	trace(sim, 69, file, size, ret);
	point(sim);
	return ret;
}

static int sim_remove(struct khd_disk *disk, enum khd_disk_file file)
{
	struct disk_sim *sim = sim_of(disk);
	int ret = 0;

	if (sim->dead)
		return -EIO;
	sim->counts.removes++;
	if (fails(sim, DISK_EIO_WRITE))
		ret = -EIO;
	else {
		add_meta(sim, PENDING_REMOVE, file, 0);
		sim->reserved[file] = 0;
	}
	trace(sim, 65, file, 0, ret);
	point(sim);
	return ret;
}

/* ------------------------------------------------------------ asynchronous operations */

static uint64_t io_bytes(const struct khd_disk_io *io)
{
	uint64_t len = 0;
	unsigned int i;

	for (i = 0; i < io->iovs; i++)
		len += io->iov[i].iov_len;
	return len;
}

static void gather(const struct khd_disk_io *io, uint8_t *to)
{
	unsigned int i;

	for (i = 0; i < io->iovs; i++) {
		memcpy(to, io->iov[i].iov_base, io->iov[i].iov_len);
		to += io->iov[i].iov_len;
	}
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static void check_io(struct disk_sim *sim, const struct khd_disk_io *io)
{
	uint64_t len = io_bytes(io);
	unsigned int i;

	if (io->op == KHD_DISK_FLUSH)
		return;
	if (io->file != KHD_FILE_SLOTS || io->iovs > KHD_DISK_IOVS || !len)
		breaks(sim, "an asynchronous operation on another file, or of no or too many "
			    "pieces");
	if (io->offset % sim->base.sector || io->offset + len > sim->now[io->file].size)
		breaks(sim, "an asynchronous operation out of line or behind the end");
	for (i = 0; i < io->iovs; i++)
		if ((uintptr_t)io->iov[i].iov_base % KHD_SECTOR ||
		    io->iov[i].iov_len % sim->base.sector)
			breaks(sim, "memory out of line");
	for (i = 0; i < sim->io_count; i++) {
		const struct khd_disk_io *other = sim->ios[i];

		if (io->op == KHD_DISK_WRITE && other->op == KHD_DISK_WRITE &&
		    overlap(io->offset, len, other->offset, io_bytes(other)))
			breaks(sim, "two writes to one sector in flight");
	}
}

static void sim_submit(struct khd_disk *disk, struct khd_disk_io *io)
{
	struct disk_sim *sim = sim_of(disk);
	struct disk_pending *p;

	if (!sim->dead)
		check_io(sim, io);
	if (sim->io_count == sim->io_room) {
		sim->io_room = sim->io_room * 2 + 16;
		sim->ios = realloc(sim->ios, sim->io_room * sizeof(*sim->ios));
		if (!sim->ios)
			abort();
	}
	sim->ios[sim->io_count++] = io;
	if (sim->counts.in_flight_most < sim->io_count)
		sim->counts.in_flight_most = sim->io_count;
	io->backend[0] = (void *)(uintptr_t)++sim->clock;
	if (sim->dead || io->op != KHD_DISK_WRITE)
		return;
	p = add(sim, PENDING_DATA, io->file);
	p->io = io;
	p->offset = io->offset;
	p->len = io_bytes(io);
	p->data = get(p->len);
	gather(io, p->data);
	trace(sim, 66, io->offset, khd_crc32c(0, p->data, p->len), 0);
	point(sim);
}

static int64_t finish_write(struct disk_sim *sim, struct khd_disk_io *io)
{
	struct disk_pending *p = NULL;
	uint8_t *again;
	size_t i, part;
	int64_t res;

	for (i = 0; i < sim->pending_count; i++)
		if (sim->pending[i].io == io)
			p = &sim->pending[i];
	if (!p)
		abort();
	sim->counts.writes++;
	again = get(p->len);
	gather(io, again);
	if (memcmp(again, p->data, p->len))
		breaks(sim, "memory changed before its write was done");
	free(again);
	res = write_result(sim, p->len, &part);
	p->io = NULL;
	p->len = part;
	p->completed = ++sim->clock;
	image_write(&sim->now[io->file], io->offset, p->data, part);
	sim->counts.bytes_written += part;
	return res;
}

/* Sectors that are being written are old or new. */
static int64_t finish_read(struct disk_sim *sim, struct khd_disk_io *io)
{
	uint64_t len = io_bytes(io), got = len, at, n;
	uint8_t *data;
	unsigned int i;
	size_t k;

	sim->counts.reads++;
	if (fails(sim, DISK_EIO_READ))
		return -EIO;
	if (fails(sim, DISK_SHORT_READ))
		got = rng_below(&sim->rng, len / sim->atom) * sim->atom;
	data = get(len);
	image_read(&sim->now[io->file], io->offset, data, got);
	for (k = 0; k < sim->pending_count; k++) {
		const struct disk_pending *p = &sim->pending[k];

		if (!p->io || p->file != io->file)
			continue;
		for (at = 0; at < p->len; at += sim->atom)
			if (overlap(p->offset + at, sim->atom, io->offset, got) &&
			    rng_chance(&sim->rng, 500))
				memcpy(data + (p->offset + at - io->offset), p->data + at,
				       sim->atom);
	}
	for (i = 0, at = 0; i < io->iovs && at < got; i++, at += n) {
		n = io->iov[i].iov_len < got - at ? io->iov[i].iov_len : got - at;
		memcpy(io->iov[i].iov_base, data + at, n);
	}
	free(data);
	sim->counts.bytes_read += got;
	return (int64_t)got;
}

static void finish(struct disk_sim *sim, size_t which)
{
	struct khd_disk_io *io = sim->ios[which];
	int64_t res;

	sim->ios[which] = sim->ios[--sim->io_count];
	if (sim->dead)
		res = -EIO;
	else if (io->op == KHD_DISK_WRITE)
		res = finish_write(sim, io);
	else if (io->op == KHD_DISK_READ)
		res = finish_read(sim, io);
	else
		res = flush(sim, io->file, (uint64_t)(uintptr_t)io->backend[0]);
	trace(sim, io->op * 8 + io->file, io->offset, io->op == KHD_DISK_FLUSH ? 0 : io_bytes(io),
	      res);
	if (io->op == KHD_DISK_FLUSH)
		point(sim);
	io->done(io, res);
	point(sim);
}

static void sim_job(struct khd_disk *disk, struct khd_job *job)
{
	struct disk_sim *sim = sim_of(disk);

	job->next = NULL;
	*sim->jobs_end = job;
	sim->jobs_end = &job->next;
}

static struct khd_job *take(struct khd_job **head, struct khd_job ***end)
{
	struct khd_job *job = *head;

	*head = job->next;
	if (!*head)
		*end = head;
	return job;
}

static void run_job(struct disk_sim *sim)
{
	struct khd_job *job = take(&sim->jobs, &sim->jobs_end);

	sim->counts.jobs++;
	trace(sim, 67, sim->counts.jobs, 0, 0);
	job->run(job);
	job->next = NULL;
	*sim->ran_end = job;
	sim->ran_end = &job->next;
}

static void end_job(struct disk_sim *sim)
{
	struct khd_job *job = take(&sim->ran, &sim->ran_end);

	trace(sim, 68, 0, 0, 0);
	job->done(job);
	point(sim);
}

bool disk_sim_step(struct disk_sim *sim)
{
	size_t choices = sim->io_count + (sim->jobs != NULL) + (sim->ran != NULL), which;

	if (!choices)
		return false;
	which = rng_below(&sim->rng, choices);
	if (which < sim->io_count)
		finish(sim, which);
	else if (sim->jobs && which == sim->io_count)
		run_job(sim);
	else
		end_job(sim);
	return true;
}

/* ------------------------------------------------------------ the disk */

static const struct khd_disk_ops sim_ops = {
	.submit = sim_submit,
	.job = sim_job,
	.read = sim_read,
	.write = sim_write,
	.flush = sim_flush,
	.size = sim_size,
	.resize = sim_resize,
	.reserve = sim_reserve,
	.remove = sim_remove,
};

void disk_sim_sectors(struct disk_sim *sim, unsigned int sector, unsigned int atom)
{
	sim->base.sector = sector;
	sim->atom = atom;
}

struct disk_sim *disk_sim_new(uint64_t seed)
{
	struct disk_sim *sim = get(sizeof(*sim));

	sim->base.ops = &sim_ops;
	disk_sim_sectors(sim, KHD_SECTOR, KHD_SECTOR);
	sim->rng.state = seed;
	sim->jobs_end = &sim->jobs;
	sim->ran_end = &sim->ran;
	return sim;
}

void disk_sim_free(struct disk_sim *sim)
{
	unsigned int i;

	if (!sim)
		return;
	if (!sim->dead && (sim->io_count || sim->jobs || sim->ran))
		abort();
	forget(sim, KHD_FILES, UINT64_MAX);
	for (i = 0; i < KHD_FILES; i++) {
		image_free(&sim->durable[i]);
		image_free(&sim->now[i]);
	}
	free(sim->pending);
	free(sim->ios);
	free(sim);
}

struct disk_sim *disk_sim_crash(const struct disk_sim *sim, enum disk_crash how, uint64_t seed)
{
	struct disk_sim *left = disk_sim_new(seed);
	struct draw d;
	unsigned int i;

	disk_sim_sectors(left, sim->base.sector, sim->atom);
	for (i = 0; i < KHD_FILES; i++)
		image_copy(&left->durable[i], &sim->durable[i]);
	draw_begin(sim, &d, how, seed);
	apply(sim, left->durable, &d, KHD_FILES, UINT64_MAX);
	for (i = 0; i < KHD_FILES; i++) {
		image_cut(&left->durable[i], left->durable[i].size);
		image_copy(&left->now[i], &left->durable[i]);
		left->reserved[i] = sim->reserved[i];
	}
	return left;
}

uint64_t disk_sim_hash(const struct disk_sim *sim)
{
	struct rng r = { 0 };
	unsigned int i;

	for (i = 0; i < KHD_FILES; i++) {
		r.state ^= image_hash(&sim->durable[i]);
		rng_next(&r);
		r.state = rng_next(&r);
	}
	return r.state;
}

void disk_sim_flip(struct disk_sim *sim, enum khd_disk_file file, uint64_t bit)
{
	struct image *images[] = { &sim->durable[file], &sim->now[file] };
	unsigned int i;
	uint8_t byte;

	for (i = 0; i < 2; i++) {
		image_read(images[i], bit / 8, &byte, 1);
		byte ^= (uint8_t)(1u << bit % 8);
		image_write(images[i], bit / 8, &byte, 1);
	}
}
