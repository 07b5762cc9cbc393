// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * replay [OPTIONS] LOG BASE [-- CMD ARGS...]: make what a power cut can leave on a disk, from the
 * record that dm-log-writes made of its writes and the image it began with, and let CMD judge it.
 *
 * The states, in this order:
 *  - after every flush and every forced write (FUA) that completed: everything before is there;
 *  - for every flush, --torn times: the power failed just before it completed: all that was forced,
 *    and a seeded subset of the sectors it should have covered;
 *  - for every forced write, --torn times: all before it and a seeded subset of its own sectors.
 * Nothing that the log says to have been durable is ever missing.
 *
 * CMD finds the image in $REPLAY_IMAGE (it may change it), the lines of --marks and of all marks
 * made before that moment in the file $REPLAY_MARKS, and what it looks at in $REPLAY_STATE. Any
 * exit status but 0 is a failure; the first ones are printed with how to repeat them. Without CMD
 * the states are counted.
 */
#include "selftests/vm/wlog.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK 4096u
#define FAILURES_SHOWN 5
#define CHECK_SECONDS 60u

/* One process of --jobs: its own images, its share of the states. */
struct replayer {
	const struct wlog *log;
	char **argv; /* CMD, or NULL */
	char directory[64];
	char *scratch_path, *marks_path;
	uint8_t *current; /* what is durable */
	uint8_t *scratch; /* what CMD gets */
	size_t size;
	FILE *marks;
	unsigned int job, jobs;
	unsigned int torn;
	uint64_t seed;
	uint64_t most; /* states to check, 0: all */
	uint64_t total; /* there are so many */
	int64_t only;
	uint64_t states; /* seen */
	uint64_t checked, failed, boundaries, tails;
};

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "replay: %s: %s\n", what, why);
	exit(2);
}

static void apply(const struct replayer *r, uint8_t *image, const struct wlog_entry *entry)
{
	if (entry->kind == WLOG_MARK || entry->kind == WLOG_FLUSH)
		return;
	if (entry->offset > r->size || entry->length > r->size - entry->offset)
		die("the log", "writes beyond the end of the image");
	if (entry->kind == WLOG_DISCARD)
		memset(image + entry->offset, 0, entry->length);
	else
		memcpy(image + entry->offset, entry->data, entry->length);
}

/* How a tail is torn. */
enum tear {
	TEAR_SECTORS, /* each sector or not */
	TEAR_ENTRIES, /* each write or not */
	TEAR_PREFIX, /* the first writes, and a part of one */
	TEAR_SUFFIX, /* the last writes: the first ones are missing */
	TEAR_ONE, /* all but one sector */
	TEARS
};

/* Entries [first, last) to the scratch image, in part. */
static void apply_torn(const struct replayer *r, size_t first, size_t last, uint64_t seed)
{
	uint64_t random = seed, sectors = 0, number = 0, edge;
	enum tear tear = next_random(&random) % TEARS;

	for (size_t i = first; i < last; i++)
		sectors += r->log->entries[i].length / SECTOR;
	edge = sectors ? next_random(&random) % sectors : 0;
	for (size_t i = first; i < last; i++) {
		const struct wlog_entry *entry = &r->log->entries[i];
		bool whole = next_random(&random) & 1, before = false;

		if (entry->kind == WLOG_MARK || entry->kind == WLOG_FLUSH)
			continue;
		for (uint64_t at = 0; at < entry->length; at += SECTOR, number++) {
			struct wlog_entry sector = *entry;
			bool there = tear == TEAR_SECTORS ? next_random(&random) & 1 :
				     tear == TEAR_ENTRIES ? whole :
				     tear == TEAR_PREFIX  ? number < edge :
				     tear == TEAR_SUFFIX  ? number >= edge :
							    number != edge;

			sector.offset += at;
			/* ext4 relies on its superblock of two sectors being written whole. */
			if (sector.offset == 3 * SECTOR && at)
				there = before;
			before = there;
			if (!there)
				continue;
			sector.length = SECTOR;
			if (sector.data)
				sector.data += at;
			apply(r, r->scratch, &sector);
		}
	}
}

static void reset_scratch(struct replayer *r)
{
	for (size_t at = 0; at < r->size; at += BLOCK) {
		size_t n = r->size - at < BLOCK ? r->size - at : BLOCK;

		if (memcmp(r->scratch + at, r->current + at, n))
			memcpy(r->scratch + at, r->current + at, n);
	}
}

static bool run_command(struct replayer *r, const char *state)
{
	pid_t pid;
	int status;

	fflush(r->marks);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setenv("REPLAY_IMAGE", r->scratch_path, 1);
		setenv("REPLAY_MARKS", r->marks_path, 1);
		setenv("REPLAY_STATE", state, 1);
		alarm(CHECK_SECONDS); /* inherited through exec */
		execvp(r->argv[0], r->argv);
		fprintf(stderr, "replay: %s: %s\n", r->argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die("fork", strerror(errno));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* Is this state to be checked, and by this job? */
static bool is_mine(struct replayer *r)
{
	uint64_t number = r->states++, random = r->seed ^ number;

	if (r->only >= 0)
		return number == (uint64_t)r->only && r->job == 0;
	if (!r->argv || number % r->jobs != r->job)
		return false;
	return !r->most || r->total <= r->most || next_random(&random) % r->total < r->most;
}

/* The state after entry @at, or the @tail-th torn one of entries [first, at]; tail 0: not torn. */
static void look_at(struct replayer *r, size_t first, size_t at, unsigned int tail)
{
	uint64_t number = r->states, salt = r->seed * 1000003 + number;
	char state[128];

	r->boundaries += !tail;
	r->tails += !!tail;
	if (!is_mine(r))
		return;
	snprintf(state, sizeof(state), "state %" PRIu64 ": %s entry %zu%s", number,
		 tail ? "cut in" : "after", at,
		 r->log->entries[at].kind == WLOG_FLUSH ? " (flush)" : " (forced write)");
	reset_scratch(r);
	if (tail)
		apply_torn(r, first, at + 1, next_random(&salt));
	r->checked++;
	if (run_command(r, state))
		return;
	if (r->failed++ < FAILURES_SHOWN)
		printf("# %s failed; again with --torn %u --seed %" PRIu64 " --only %" PRIu64 "\n",
		       state, r->torn, r->seed, number);
}

static void note_mark(struct replayer *r, const struct wlog_entry *entry)
{
	fwrite(entry->data, 1, strnlen((const char *)entry->data, entry->length), r->marks);
	fputc('\n', r->marks);
}

/* All states of the log, in order; ordinary writes wait for their flush. */
static void replay(struct replayer *r)
{
	size_t pending = 0; /* the first entry that is not in the current image */

	for (size_t at = 0; at < r->log->count; at++) {
		const struct wlog_entry *entry = &r->log->entries[at];

		if (entry->kind == WLOG_MARK)
			note_mark(r, entry);
		if (entry->kind != WLOG_FLUSH && entry->kind != WLOG_FUA)
			continue;
		/* What stands before a forced write without a flush was logged at an earlier one. */
		for (unsigned int tail = 1; tail <= r->torn; tail++)
			look_at(r, pending, at, tail);
		for (; pending <= at; pending++)
			apply(r, r->current, &r->log->entries[pending]);
		/* Marks that follow were made before anything else became durable. */
		for (size_t next = at + 1;
		     next < r->log->count && r->log->entries[next].kind == WLOG_MARK; next++, at++)
			note_mark(r, &r->log->entries[next]);
		look_at(r, pending, pending - 1, 0);
	}
}

static uint8_t *map_image(const char *path, size_t size, bool create)
{
	int fd = open(path, create ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_CLOEXEC,
		      0600);
	uint8_t *map;

	if (fd < 0 || (create && ftruncate(fd, size)))
		die(path, strerror(errno));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, create ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		die(path, strerror(errno));
	close(fd);
	return map;
}

static void set_up(struct replayer *r, const char *base, const char *marks)
{
	const char *where = getenv("TMPDIR");
	char line[4096];
	struct stat st;
	FILE *f;

	if (stat(base, &st))
		die(base, strerror(errno));
	r->size = st.st_size;
	snprintf(r->directory, sizeof(r->directory), "%.40s/replay.XXXXXX",
		 where ? where : "/dev/shm");
	if (!mkdtemp(r->directory) || asprintf(&r->scratch_path, "%s/image", r->directory) < 0 ||
	    asprintf(&r->marks_path, "%s/marks", r->directory) < 0)
		die(r->directory, strerror(errno));
	r->current = map_image(base, r->size, false);
	r->scratch = map_image(r->scratch_path, r->size, true);
	r->marks = fopen(r->marks_path, "we");
	if (!r->marks)
		die(r->marks_path, strerror(errno));
	f = marks ? fopen(marks, "re") : NULL;
	if (marks && !f)
		die(marks, strerror(errno));
	while (f && fgets(line, sizeof(line), f))
		fputs(line, r->marks);
	if (f)
		fclose(f);
}

static void tear_down(struct replayer *r)
{
	fclose(r->marks);
	unlink(r->scratch_path);
	unlink(r->marks_path);
	rmdir(r->directory);
}

struct outcome {
	uint64_t checked, failed;
};

static pid_t start_job(struct replayer *r, const char *base, const char *marks, int *result)
{
	struct outcome outcome;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		die("pipe", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork", strerror(errno));
	if (pid == 0) {
		set_up(r, base, marks);
		replay(r);
		tear_down(r);
		fflush(stdout);
		outcome = (struct outcome){ r->checked, r->failed };
		_exit(write(fds[1], &outcome, sizeof(outcome)) != sizeof(outcome));
	}
	close(fds[1]);
	*result = fds[0];
	return pid;
}

static int run_jobs(struct replayer *r, const char *base, const char *marks)
{
	int results[r->jobs], status, bad = 0;
	pid_t pids[r->jobs];
	struct outcome outcome;

	for (r->job = 0; r->job < r->jobs; r->job++)
		pids[r->job] = start_job(r, base, marks, &results[r->job]);
	for (unsigned int i = 0; i < r->jobs; i++) {
		if (waitpid(pids[i], &status, 0) < 0 || status ||
		    read(results[i], &outcome, sizeof(outcome)) != sizeof(outcome)) {
			bad = 1;
			continue;
		}
		r->checked += outcome.checked;
		r->failed += outcome.failed;
	}
	return bad;
}

/* How many states there are. */
static void count_states(struct replayer *r)
{
	for (size_t i = 0; i < r->log->count; i++) {
		if (r->log->entries[i].kind != WLOG_FLUSH && r->log->entries[i].kind != WLOG_FUA)
			continue;
		r->boundaries++;
		r->tails += r->torn;
	}
	r->total = r->boundaries + r->tails;
}

static _Noreturn void usage(void)
{
	fputs("usage: replay [OPTIONS] LOG BASE [-- CMD ARGS...]\n"
	      "  --torn N     torn tails for each flush and forced write (1)\n"
	      "  --seed S     of the tails (1)\n"
	      "  --most N     check about N of the states, drawn by the seed\n"
	      "  --only K     check state K only\n"
	      "  --jobs N     so many at a time (1)\n"
	      "  --marks FILE lines that hold before the log begins\n"
	      "       replay --print-marks LOG\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "torn", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' },
		{ "most", required_argument, NULL, 'm' },
		{ "only", required_argument, NULL, 'o' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "marks", required_argument, NULL, 'M' },
		{ "print-marks", no_argument, NULL, 'p' },
		{ 0 },
	};
	struct replayer r = { .torn = 1, .seed = 1, .only = -1, .jobs = 1 };
	const char *marks = NULL, *base, *wrong;
	struct wlog log;
	int option, bad = 0, print = 0;

	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (option) {
		case 't':
			r.torn = strtoul(optarg, NULL, 0);
			break;
		case 's':
			r.seed = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			r.most = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			r.only = strtoll(optarg, NULL, 0);
			break;
		case 'j':
			r.jobs = strtoul(optarg, NULL, 0);
			break;
		case 'M':
			marks = optarg;
			break;
		case 'p':
			print = 1;
			break;
		default:
			usage();
		}
	}
	if (argc - optind < 2 - print || r.jobs < 1 || r.jobs > 64)
		usage();
	wrong = wlog_open(&log, argv[optind]);
	if (wrong)
		die(argv[optind], wrong);
	r.log = &log;
	if (print) {
		r.marks = stdout;
		for (size_t i = 0; i < log.count; i++)
			if (log.entries[i].kind == WLOG_MARK)
				note_mark(&r, &log.entries[i]);
		wlog_close(&log);
		return 0;
	}
	base = argv[optind + 1];
	optind += 2;
	if (optind < argc && !strcmp(argv[optind], "--"))
		optind++;
	r.argv = optind < argc ? argv + optind : NULL;
	count_states(&r);
	bad = r.argv ? run_jobs(&r, base, marks) : 0;
	printf("%zu entries, %" PRIu64 " boundaries, %" PRIu64 " torn tails: %" PRIu64
	       " states checked, %" PRIu64 " failed\n",
	       log.count, r.boundaries, r.tails, r.checked, r.failed);
	wlog_close(&log);
	return bad || r.failed || (r.argv && !r.checked);
}
