// SPDX-License-Identifier: GPL-2.0-or-later
/* config.c - read khd.conf(5): a table of sections and keys, and what must hold between them */
#include <arpa/inet.h>
#include <errno.h>
#include <ini.h>
#include <netdb.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khd/config.h"

struct reader {
	struct khd_config *config;
	struct khd_peer_config *peer; /* of the section being read */
	const char *path;
	FILE *file;
	int line;
	int seen_line[32]; /* line on which keys[i] was set */
	int section_line;
	char section[64];
	bool failed;
};

struct key {
	const char *section, *name;
	bool (*parse)(struct reader *r, const struct key *key, void *field, const char *value);
	size_t offset, size; /* field in struct khd_config (or khd_peer_config) */
	uint64_t min, max;
	bool required;
};

static bool __attribute__((format(printf, 3, 4)))
fail(struct reader *r, int line, const char *fmt, ...)
{
	va_list ap;

	if (line)
		fprintf(stderr, "khd: %s:%d: ", r->path, line);
	else
		fprintf(stderr, "khd: %s: ", r->path);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	r->failed = true;
	return false;
}

static bool parse_number(struct reader *r, const struct key *key, void *field, const char *value)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || n < key->min || n > key->max)
		return fail(r, r->line, "%s must be a number from %llu to %llu, not '%s'",
			    key->name, (unsigned long long)key->min, (unsigned long long)key->max,
			    value);
	*(uint32_t *)field = n;
	return true;
}

/* Bytes, with K, M, G or T for powers of 1024. */
static bool parse_size(struct reader *r, const struct key *key, void *field, const char *value)
{
	static const char suffixes[] = "KMGT";
	unsigned long long n;
	unsigned int shift = 0;
	const char *suffix;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		shift = 10 * (suffix - suffixes + 1);
		end++;
	}
	if (value[0] < '0' || value[0] > '9' || *end || errno || n > UINT64_MAX >> shift ||
	    n << shift < key->min || n << shift > key->max)
		return fail(r, r->line, "%s must be a size from %llu to %llu bytes, not '%s'",
			    key->name, (unsigned long long)key->min, (unsigned long long)key->max,
			    value);
	*(uint64_t *)field = n << shift;
	return true;
}

static bool parse_text(struct reader *r, const struct key *key, void *field, const char *value)
{
	if (!value[0])
		return fail(r, r->line, "%s is empty", key->name);
	if (strlen(value) >= key->size)
		return fail(r, r->line, "%s is longer than %zu bytes", key->name, key->size - 1);
	strcpy(field, value);
	return true;
}

static bool parse_path(struct reader *r, const struct key *key, void *field, const char *value)
{
	if (value[0] != '/')
		return fail(r, r->line, "%s must be an absolute path, not '%s'", key->name, value);
	return parse_text(r, key, field, value);
}

/* A path, or "none", which is kept as the empty string. */
static bool parse_path_or_none(struct reader *r, const struct key *key, void *field,
			       const char *value)
{
	if (strcmp(value, "none"))
		return parse_path(r, key, field, value);
	((char *)field)[0] = 0;
	return true;
}

static bool parse_queue(struct reader *r, const struct key *key, void *field, const char *value)
{
	static const char *const names[] = {
		[KHD_QUEUE_AUTO] = "auto", [KHD_QUEUE_URING] = "uring", [KHD_QUEUE_READ] = "read"
	};
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(value, names[i])) {
			*(enum khd_queue *)field = i;
			return true;
		}
	return fail(r, r->line, "queue must be auto, uring or read, not '%s'", value);
}

/* 192.0.2.1:7400 or [2001:db8::1]:7400; no names: khd must not wait for a resolver. */
static bool parse_addr(struct reader *r, const struct key *key, void *field, const char *value)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	struct khd_addr *addr = field;
	const char *colon = strrchr(value, ':'), *host = value;
	size_t len = colon ? colon - value : 0;
	struct addrinfo *ai;
	char text[64];
	char *end;
	long port;

	if (!colon || strlen(value) >= sizeof(addr->text))
		return fail(r, r->line, "addr must be ADDRESS:PORT, not '%s'", value);
	if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return fail(r, r->line, "an IPv6 address needs brackets: '%s'", value);
	}
	memcpy(text, host, len);
	text[len] = 0;
	port = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || port < 1 || port > 65535)
		return fail(r, r->line, "the port in '%s' is not 1 to 65535", value);
	if (!len || getaddrinfo(text, colon + 1, &hints, &ai))
		return fail(r, r->line, "'%s' is not a numeric address", value);
	memcpy(&addr->ss, ai->ai_addr, ai->ai_addrlen);
	addr->len = ai->ai_addrlen;
	freeaddrinfo(ai);
	strcpy(addr->text, value);
	return true;
}

#define STORE_MIN (16ull << 20)
#define STORE_MAX (1ull << 50)

#define FIELD(f) offsetof(struct khd_config, f), sizeof(((struct khd_config *)0)->f)

static const struct key keys[] = {
	{ "node", "id", parse_number, FIELD(id), 1, UINT32_MAX, true },
	{ "node", "state", parse_path, FIELD(state), 0, 0, true },
	{ "node", "socket", parse_path_or_none, FIELD(socket), 0, 0, false },
	{ "node", "device", parse_path_or_none, FIELD(device), 0, 0, false },
	{ "node", "netns", parse_path, FIELD(netns), 0, 0, false },
	{ "node", "queue", parse_queue, FIELD(queue), 0, 0, false },
	{ "node", "priority", parse_number, FIELD(priority), 0, 99, false },
	{ "listen", "addr", parse_addr, FIELD(listen), 0, 0, false },
	{ "cluster", "name", parse_text, FIELD(cluster), 0, 0, true },
	{ "cluster", "lease_ms", parse_number, FIELD(lease_ms), 100, 3600000, false },
	{ "cluster", "drift_ppm", parse_number, FIELD(drift_ppm), 1, 100000, false },
	{ "cluster", "zap_budget_ms", parse_number, FIELD(zap_budget_ms), 1, 60000, false },
	{ "cluster", "flush_ms", parse_number, FIELD(flush_ms), 10, 3600000, false },
	{ "store", "dir", parse_path, FIELD(store.dir), 0, 0, false },
	{ "store", "size", parse_size, FIELD(store.size), STORE_MIN, STORE_MAX, false },
	{ "store", "cache", parse_size, FIELD(store.cache), 1 << 20, 1ull << 40, false },
	{ "store", "scrub", parse_size, FIELD(store.scrub), 0, 1ull << 40, false },
	{ "store", "buffers", parse_size, FIELD(store.buffers), 8 << 20, 1ull << 34, false },
	{ "limits", "memory", parse_size, FIELD(limits.memory), 1 << 20, 1ull << 43, false },
	{ "limits", "clients", parse_number, FIELD(limits.clients), 1, 4096, false },
	{ "limits", "ops", parse_number, FIELD(limits.ops), 1, 65536, false },
	{ "limits", "queue_depth", parse_number, FIELD(limits.queue_depth), 1,
	  KHAZANA_QUEUE_DEPTH_MAX, false },
	{ "limits", "peer_queue_mb", parse_number, FIELD(limits.peer_queue_mb), 4, 4096, false },
	{ "limits", "peer_timeout_ms", parse_number, FIELD(limits.peer_timeout_ms), 500, 600000,
	  false },
	/* of a peer, in struct khd_peer_config */
	{ "peer", "addr", parse_addr, offsetof(struct khd_peer_config, addr),
	  sizeof(struct khd_addr), 0, 0, false },
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* "peer 3": find or make the peer. */
static bool enter_peer(struct reader *r, const char *number)
{
	struct khd_config *config = r->config;
	unsigned long id;
	unsigned int i;
	char *end;

	errno = 0;
	id = strtoul(number, &end, 10);
	if (number[0] < '0' || number[0] > '9' || *end || errno || !id || id > UINT32_MAX)
		return fail(r, r->line, "[peer %s]: not a node id", number);
	for (i = 0; i < config->peer_count; i++)
		if (config->peers[i].id == id)
			return fail(r, r->line, "[peer %lu] is there twice", id);
	if (config->peer_count == KH_NODES_MAX - 1)
		return fail(r, r->line, "more than %d nodes", KH_NODES_MAX);
	r->peer = &config->peers[config->peer_count++];
	r->peer->id = id;
	return true;
}

static bool enter_section(struct reader *r, const char *section)
{
	unsigned int i;

	snprintf(r->section, sizeof(r->section), "%s", section);
	r->peer = NULL;
	if (!strncmp(section, "peer ", 5))
		return enter_peer(r, section + 5);
	for (i = 0; i < KEYS; i++)
		if (!strcmp(section, keys[i].section) && strcmp(section, "peer"))
			return true;
	if (!section[0])
		return fail(r, r->line, "a key before the first section");
	return fail(r, r->line, "unknown section [%s]", section);
}

static bool set_key(struct reader *r, const char *name, const char *value)
{
	const char *section = r->peer ? "peer" : r->section;
	unsigned int i;

	for (i = 0; i < KEYS; i++)
		if (!strcmp(section, keys[i].section) && !strcmp(name, keys[i].name))
			break;
	if (i == KEYS)
		return fail(r, r->line, "unknown key '%s' in section [%s]", name, r->section);
	if (r->peer) {
		if (r->peer->addr.len)
			return fail(r, r->line, "'%s' is there twice", name);
		return keys[i].parse(r, &keys[i], (char *)r->peer + keys[i].offset, value);
	}
	if (r->seen_line[i])
		return fail(r, r->line, "'%s' is there twice, first on line %d", name,
			    r->seen_line[i]);
	r->seen_line[i] = r->line;
	return keys[i].parse(r, &keys[i], (char *)r->config + keys[i].offset, value);
}

/* inih tells only lines with keys; sections without one are looked at here as well. */
static char *next_line(char *buf, int size, void *stream)
{
	struct reader *r = stream;
	char *line = fgets(buf, size, r->file), *end;
	char section[64];

	if (!line)
		return NULL;
	r->line++;
	if (!strchr(line, '\n') && !feof(r->file)) {
		fail(r, r->line, "the line is too long");
		return NULL;
	}
	while (*line == ' ' || *line == '\t')
		line++;
	end = strchr(line, ']');
	if (*line == '[' && end && end - line < (int)sizeof(section)) {
		memcpy(section, line + 1, end - line - 1);
		section[end - line - 1] = 0;
		r->section_line = r->line;
		if (!enter_section(r, section))
			r->section[0] = 0; /* said once; its keys are skipped */
	}
	return buf;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;

	if (!r->section_line) {
		fail(r, r->line, "'%s' stands before the first section", name);
		return 1;
	}
	if (r->section[0] || r->peer)
		set_key(r, name, value);
	return 1;
}

/* What no single line shows. */
static void check(struct reader *r)
{
	struct khd_config *config = r->config;
	bool accepts = false;
	unsigned int i;

	for (i = 0; i < KEYS; i++)
		if (keys[i].required && !r->seen_line[i])
			fail(r, 0, "[%s] %s is missing", keys[i].section, keys[i].name);
	for (i = 0; i < config->peer_count; i++) {
		if (config->peers[i].id == config->id)
			fail(r, 0, "[peer %u] is this node", config->id);
		if (config->peers[i].id < config->id)
			accepts = true;
		if (!config->peers[i].addr.len)
			fail(r, 0, "[peer %u] addr is missing", config->peers[i].id);
	}
	for (i = 0; i < KEYS; i++)
		if (!strcmp(keys[i].section, "store") && r->seen_line[i] &&
		    (!config->store.dir[0] || !config->store.size)) {
			fail(r, r->seen_line[i], "[store] needs dir and size");
			break;
		}
	if (config->peer_count && !config->listen.len)
		fail(r, 0, "[listen] addr is missing, %s",
		     accepts ? "and peers of lower ids connect to it" :
			       "and connections to peers come from it");
}

static void defaults(struct khd_config *config)
{
	memset(config, 0, sizeof(*config));
	strcpy(config->socket, "/run/khazana/khd.sock");
	strcpy(config->device, "/dev/khazana");
	config->store.buffers = 32 << 20;
	config->limits = (struct khd_limits){
		.clients = 64,
		.ops = 1024,
		.queue_depth = 128,
		.peer_queue_mb = 64,
		.peer_timeout_ms = 5000,
	};
}

bool khd_config_read(struct khd_config *config, const char *path)
{
	struct reader r = { .config = config, .path = path };
	int ret;

	_Static_assert(KEYS <= sizeof(r.seen_line) / sizeof(r.seen_line[0]), "seen_line is short");
	defaults(config);
	r.file = fopen(path, "re");
	if (!r.file)
		return fail(&r, 0, "%s", strerror(errno));
	ret = ini_parse_stream(next_line, &r, on_key, &r);
	if (ferror(r.file))
		fail(&r, 0, "%s", strerror(errno));
	fclose(r.file);
	if (ret > 0)
		fail(&r, ret, "neither a section nor KEY = VALUE");
	else if (ret < 0)
		fail(&r, 0, "cannot be parsed");
	if (!r.failed)
		check(&r);
	return !r.failed;
}
