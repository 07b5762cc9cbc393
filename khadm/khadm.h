/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * khadm.h - what the objects of khadm share
 *
 * A command is a row of a table: its words, what it takes, what it does.  It asks khd and the
 * module for messages, turns them into one JSON document by the names of the
 * specification, and prints that document, as it is (-j) or laid out for people.
 */
#ifndef KHADM_H
#define KHADM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/link.h"

/* Exit status. */
enum khadm_exit {
	KHADM_OK = 0,
	KHADM_REFUSED = 1,
	KHADM_USAGE = 2,
	KHADM_NOT_FOUND = 3,
	KHADM_PERMISSION = 4, /* or a wrong key */
	KHADM_UNREACHABLE = 5, /* module or khd */
	KHADM_UNWELL = 6, /* health: something needs the operator; store check: damage */
	KHADM_TIMEOUT = 7,
};

/**
 * struct khadm_args - the words and options of a command line
 * @json: print JSON
 * @socket: of khd, or NULL
 * @timeout_ms: of each call; 0 is the default
 * @all: ask every node
 * @force: revoke instead of refusing
 * @allocate: storage for the whole region
 * @has_size: --size was given
 * @size: bytes
 * @attr: of a region to be made
 * @key: from a file, or zero
 * @count: events to wait for; 0 is no limit
 * @rate: --rate, or ~0
 * @output: --output, or NULL
 * @addr: the ADDR word
 * @id: the ID word
 * @dir: the DIR word; the SIZE word is in @size
 */
struct khadm_args {
	bool json;
	const char *socket;
	uint32_t timeout_ms;
	bool all;
	bool force;
	bool allocate;
	bool has_size;
	uint64_t size;
	struct kh_attr attr;
	uint8_t key[KH_KEY_SIZE];
	uint64_t count;
	uint64_t rate;
	const char *output;
	struct khazana_addr addr;
	uint64_t id;
	const char *dir;
};

/* What a command takes behind its words. */
enum khadm_word {
	KHADM_NO_WORD,
	KHADM_ADDR, /* an address */
	KHADM_SIZE, /* bytes */
	KHADM_ID, /* a number */
	KHADM_DIR, /* a path */
};

/**
 * struct khadm_command - one command
 * @words: one to three words
 * @options: letters of the options it takes besides those that all take
 * @word: what it takes behind them
 * @summary: one line
 * @run: does it; its result is the exit status
 */
struct khadm_command {
	const char *words;
	const char *options;
	enum khadm_word word;
	const char *summary;
	int (*run)(const struct khadm_args *args);
};

/* node.c, region.c, page.c, store.c, offline.c, parked.c, store_parked.c, health.c, stats.c,
 * status.c, event.c */
int khadm_status(const struct khadm_args *args);
int khadm_node_list(const struct khadm_args *args);
int khadm_region_create(const struct khadm_args *args);
int khadm_region_list(const struct khadm_args *args);
int khadm_region_show(const struct khadm_args *args);
int khadm_region_destroy(const struct khadm_args *args);
int khadm_page_show(const struct khadm_args *args);
int khadm_store_status(const struct khadm_args *args);
int khadm_store_scrub(const struct khadm_args *args);
int khadm_memory_resize(const struct khadm_args *args);
int khadm_store_resize(const struct khadm_args *args);
int khadm_store_check(const struct khadm_args *args);
int khadm_store_rebuild(const struct khadm_args *args);
int khadm_parked_list(const struct khadm_args *args);
int khadm_parked_show(const struct khadm_args *args);
int khadm_parked_export(const struct khadm_args *args);
int khadm_parked_discard(const struct khadm_args *args);
int khadm_store_parked_list(const struct khadm_args *args);
int khadm_store_parked_show(const struct khadm_args *args);
int khadm_store_parked_export(const struct khadm_args *args);
int khadm_store_parked_discard(const struct khadm_args *args);
int khadm_health(const struct khadm_args *args);
int khadm_stats(const struct khadm_args *args);
int khadm_event_watch(const struct khadm_args *args);

/* options.c */

/* The option behind a long name or letter in a usage text, for --help of @command. */
void khadm_options_help(const struct khadm_command *command);

/* Return: 0, KHADM_USAGE after a message, or -1: --help was asked for. */
int khadm_options_parse(const struct khadm_command *command, int argc, char **argv,
			struct khadm_args *args);

/* suggest.c: the word of @words (@count of them) nearest to @word, or NULL if none is near. */
const char *khadm_nearest(const char *word, const char *const *words, unsigned int count);

/* ask.c */

/* Connect to khd: its socket, else the port that the module names. Return: 0 or an errno. */
int khadm_open_khd(const struct khadm_args *args, struct kh_ctl **ctl);

/* An operation of khd. With @list, its answers' member @member is appended to it. */
int khadm_ask_khd(struct kh_ctl *ctl, const struct khadm_args *args, const struct kh_op *op,
		  const char *member, json_t *list);

/**
 * struct khadm_own - a request that khd answers without its node
 * @cmd: KHAZANA_NL_CMD_*
 * @rate, @length, @id, @offset: its attributes; ~0 is absent
 */
struct khadm_own {
	uint8_t cmd;
	uint64_t rate, length, id, offset;
};

/* Such a request over @ctl; its messages go to @each, which may be NULL.  Return: 0 or an errno. */
int khadm_ask_own(struct kh_ctl *ctl, const struct khadm_args *args, const struct khadm_own *own,
		  kh_ctl_each_fn each, void *arg);

/* Open khd, ask it, close it; a failure is reported.  With @list, the answers' members @member are
 * appended to it.  Return: an exit status. */
int khadm_own(const struct khadm_args *args, const struct khadm_own *own, const char *member,
	      json_t *list);

/* store_parked.c: all units that the store keeps aside, appended to @list. Return: 0 or an errno. */
int khadm_parked_units(struct kh_ctl *ctl, const struct khadm_args *args, json_t *list);

/* A request to the module; its messages are appended to @list. */
int khadm_ask_module(struct kh_ctl *ctl, const struct khadm_args *args, uint8_t cmd,
		     const struct khazana_addr *addr, bool dump, json_t *list);

/* Open khd, ask it, close it; a failure is reported. Return: an exit status. */
int khadm_khd(const struct khadm_args *args, const struct kh_op *op, const char *member,
	      json_t *list);

/* Report a failure, in JSON on stdout too if that is asked for. Return: the exit status for it. */
int khadm_fail(const struct khadm_args *args, int err, const char *what, const char *text);

/* Say why something is missing from the output. Return: the exit status for it. */
int khadm_warn(int err, const char *what, const char *text);

/* The name of an errno, as in the dictionary. */
const char *khadm_errno_name(int err);

/* json.c: checked attributes as an object, by the names of the specification. */
json_t *khadm_json(const struct kh_nl_set *set, const uint8_t *buf, size_t len);

/* print.c */

/**
 * struct khadm_column - a member of objects, for people
 * @title: heading; NULL ends a list of columns
 * @key: member
 * @bytes: a number of bytes
 */
struct khadm_column {
	const char *title;
	const char *key;
	bool bytes;
};

/* Print @document, which gets the member "schema", and free it. */
void khadm_print_json(json_t *document, const char *schema);
void khadm_print_table(const json_t *list, const struct khadm_column *columns);
void khadm_print_fields(const json_t *object, const struct khadm_column *columns);

/* Members of an object, one a line, all values aligned. */
void khadm_print_members(const json_t *object);

/* A value as text; the caller frees it. */
char *khadm_text(const json_t *value, bool bytes);

#endif /* KHADM_H */
