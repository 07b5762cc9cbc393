// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * options.c - the words and options of a command line
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "khadm/khadm.h"

#define COMMON "jsth"

/* One option; upper case letters have no short form. */
struct option_row {
	char letter;
	const char *name;
	const char *arg;
	const char *help;
};

static const struct option_row rows[] = {
	{ 'S', "size", "SIZE", "bytes of the region, for example 64M (needed)" },
	{ 'U', "unit", "SIZE", "unit of coherence, a power of two, 4K if not given" },
	{ 'P', "protocol", "NAME", "consistency manager, crew if not given" },
	{ 'D', "durability", "WORD", "async (if not given) or sync: unlock waits for the disk" },
	{ 'k', "key-file", "FILE", "the region's key: 16 bytes, or 32 hexadecimal digits" },
	{ 'l', "lease-ms", "MS", "how long a right outlives contact with the home" },
	{ 'w', "wait-ms", "MS", "how long a fault waits" },
	{ 'A', "allocate", NULL, "allocate storage for the whole region" },
	{ 'a', "all", NULL, "ask every node" },
	{ 'f', "force", NULL,
	  "revoke what is mapped or locked; CAP_NET_ADMIN needs no key for it" },
	{ 'n', "count", "N", "end after N events" },
	{ 'r', "rate", "SIZE", "bytes a second, 16M if not given; 0 stops" },
	{ 'o', "output", "FILE", "a new file for the contents (needed)" },
	{ 'j', "json", NULL, "print JSON" },
	{ 's', "socket", "PATH", "khd's socket ($KHAZANA_SOCKET, " KH_CTL_SOCKET ")" },
	{ 't', "timeout", "MS", "how long to wait for an answer, 30000 if not given" },
	{ 'h', "help", NULL, "show this" },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static bool takes(const struct khadm_command *command, char letter)
{
	return strchr(COMMON, letter) || strchr(command->options, letter);
}

void khadm_options_help(const struct khadm_command *command)
{
	for (unsigned int i = 0; i < ROWS; i++) {
		char left[40];

		if (!takes(command, rows[i].letter))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		if (islower((unsigned char)rows[i].letter))
			printf("  -%c, %-18s %s\n", rows[i].letter, left, rows[i].help);
		else
			printf("      %-18s %s\n", left, rows[i].help);
	}
	if (command->word == KHADM_ADDR)
		printf("\nADDR is hi:lo in hexadecimal, as region list prints it.\n");
	if (command->word == KHADM_SIZE || strpbrk(command->options, "Sr"))
		printf("\nSIZE is a number of bytes, with K, M, G or T for powers of 1024.\n");
}

static int usage(const char *format, const char *what)
{
	fprintf(stderr, "khadm: ");
	fprintf(stderr, format, what);
	fprintf(stderr, "\n");
	return KHADM_USAGE;
}

static int number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 0);
	return errno || *end || *value > max ? -EINVAL : 0;
}

static int size(const char *text, uint64_t *value)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno)
		return -EINVAL;
	if (!*end)
		return 0;
	suffix = strchr(suffixes, toupper((unsigned char)*end));
	if (!suffix || (end[1] && strcmp(end + 1, "iB")))
		return -EINVAL;
	if (*value > UINT64_MAX >> (10 * (suffix - suffixes + 1)))
		return -EINVAL;
	*value <<= 10 * (suffix - suffixes + 1);
	return 0;
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* A key from the bytes of a file. */
static int key_decode(const uint8_t *text, size_t len, uint8_t *key)
{
	if (len == KH_KEY_SIZE) {
		memcpy(key, text, KH_KEY_SIZE);
		return 0;
	}
	while (len && isspace(text[len - 1]))
		len--;
	if (len != 2 * KH_KEY_SIZE)
		return -EINVAL;
	for (size_t i = 0; i < KH_KEY_SIZE; i++) {
		if (!isxdigit(text[2 * i]) || !isxdigit(text[2 * i + 1]))
			return -EINVAL;
		key[i] = hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]);
	}
	return 0;
}

static int key_read(const char *path, uint8_t *key)
{
	uint8_t text[64];
	ssize_t got;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "khadm: key file %s: %s\n", path, strerror(errno));
		return errno == EACCES || errno == EPERM ? KHADM_PERMISSION : KHADM_USAGE;
	}
	got = read(fd, text, sizeof(text));
	close(fd);
	err = got < 0 ? -EIO : key_decode(text, got, key);
	explicit_bzero(text, sizeof(text));
	return err ? usage("key file %s: neither 16 bytes nor 32 hexadecimal digits", path) : 0;
}

static int unit_shift(const char *text, uint32_t *shift)
{
	uint64_t bytes;

	if (size(text, &bytes) || !bytes || (bytes & (bytes - 1)))
		return -EINVAL;
	*shift = __builtin_ctzll(bytes);
	return 0;
}

static int take_u32(const char *text, uint32_t *out)
{
	uint64_t value;

	if (number(text, UINT32_MAX, &value))
		return -EINVAL;
	*out = value;
	return 0;
}

static int protocol(const char *text, struct khadm_args *args)
{
	if (!*text || strlen(text) >= sizeof(args->attr.protocol))
		return -EINVAL;
	strcpy(args->attr.protocol, text);
	return 0;
}

static int durability(const char *text, uint32_t *out)
{
	*out = !strcmp(text, "sync");
	return *out || !strcmp(text, "async") ? 0 : -EINVAL;
}

/* Return: 0, an exit status, or -EINVAL for a bad argument. */
static int take(char letter, const char *arg, struct khadm_args *args)
{
	switch (letter) {
	case 'j':
		args->json = true;
		return 0;
	case 's':
		args->socket = arg;
		return 0;
	case 't':
		return take_u32(arg, &args->timeout_ms) || !args->timeout_ms ? -EINVAL : 0;
	case 'S':
		args->has_size = true;
		return size(arg, &args->size) || !args->size ? -EINVAL : 0;
	case 'U':
		return unit_shift(arg, &args->attr.unit_shift);
	case 'P':
		return protocol(arg, args);
	case 'D':
		return durability(arg, &args->attr.durability);
	case 'r':
		return size(arg, &args->rate);
	case 'o':
		args->output = arg;
		return *arg ? 0 : -EINVAL;
	case 'k':
		return key_read(arg, args->key);
	case 'l':
		return take_u32(arg, &args->attr.lease_ms);
	case 'w':
		return take_u32(arg, &args->attr.wait_ms);
	case 'A':
		args->allocate = true;
		return 0;
	case 'a':
		args->all = true;
		return 0;
	case 'f':
		args->force = true;
		return 0;
	default:
		return number(arg, UINT64_MAX, &args->count) || !args->count ? -EINVAL : 0;
	}
}

static int unknown_option(const struct khadm_command *command, const char *word)
{
	const char *names[ROWS], *near = NULL;
	unsigned int count = 0;

	for (unsigned int i = 0; i < ROWS; i++)
		if (takes(command, rows[i].letter))
			names[count++] = rows[i].name;
	if (!strncmp(word, "--", 2)) {
		char bare[64];

		snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(word + 2, "="), word + 2);
		near = khadm_nearest(bare, names, count);
	}
	fprintf(stderr, "khadm %s: unknown option '%.*s'", command->words, (int)strcspn(word, "="),
		word);
	if (near)
		fprintf(stderr, "; did you mean '--%s'?", near);
	fprintf(stderr, "\n");
	return KHADM_USAGE;
}

/* Long options are not abbreviated: --key followed by a key must not pass for --key-file. */
static int names_check(const struct khadm_command *command, int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		size_t len = strcspn(argv[i], "=");
		bool known = strncmp(argv[i], "--", 2);

		for (unsigned int row = 0; row < ROWS && !known; row++)
			known = takes(command, rows[row].letter) &&
				strlen(rows[row].name) == len - 2 &&
				!strncmp(rows[row].name, argv[i] + 2, len - 2);
		if (!known)
			return unknown_option(command, argv[i]);
	}
	return 0;
}

/* The word behind those of the command. */
static int word_take(const struct khadm_command *command, const char *word, struct khadm_args *args)
{
	switch (command->word) {
	case KHADM_ADDR:
		if (kh_addr_parse(word, &args->addr))
			return usage("'%s' is not an address (hi:lo in hexadecimal)", word);
		return 0;
	case KHADM_SIZE:
		return size(word, &args->size) || !args->size ? usage("'%s' is not a size", word) :
								0;
	case KHADM_ID:
		return number(word, UINT64_MAX, &args->id) ? usage("'%s' is not an id", word) : 0;
	case KHADM_DIR:
		args->dir = word;
		return *word ? 0 : usage("%s: the directory is empty", command->words);
	default:
		return 0;
	}
}

/* The words that are not options. */
static int words_take(const struct khadm_command *command, int count, char **words,
		      struct khadm_args *args)
{
	static const char *const missing[] = {
		[KHADM_ADDR] = "%s: the address is missing",
		[KHADM_SIZE] = "%s: the size is missing",
		[KHADM_ID] = "%s: the id is missing",
		[KHADM_DIR] = "%s: the directory is missing",
	};
	const int most = command->word != KHADM_NO_WORD;

	if (count < most)
		return usage(missing[command->word], command->words);
	if (count > most)
		return usage("unexpected word '%s'", words[most]);
	if (strchr(command->options, 'S') && !args->has_size)
		return usage("%s: --size is needed", command->words);
	if (strchr(command->options, 'o') && !args->output)
		return usage("%s: --output is needed", command->words);
	return count ? word_take(command, words[0], args) : 0;
}

int khadm_options_parse(const struct khadm_command *command, int argc, char **argv,
			struct khadm_args *args)
{
	char letters[2 * ROWS + 2] = ":", *end = letters + 1;
	struct option options[ROWS + 1];
	unsigned int count = 0;
	int letter, err;

	memset(args, 0, sizeof(*args));
	args->rate = ~0ULL;
	memset(options, 0, sizeof(options));
	for (unsigned int i = 0; i < ROWS; i++) {
		if (!takes(command, rows[i].letter))
			continue;
		options[count++] =
			(struct option){ rows[i].name, rows[i].arg ? 1 : 0, NULL, rows[i].letter };
		if (islower((unsigned char)rows[i].letter)) {
			*end++ = rows[i].letter;
			if (rows[i].arg)
				*end++ = ':';
		}
	}
	if (names_check(command, argc, argv))
		return KHADM_USAGE;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		const char *word = argv[optind - 1];

		if (letter == 'h')
			return -1;
		if (letter == ':')
			return usage("option %s needs an argument", word);
		if (letter == '?')
			return unknown_option(command, word);
		err = take(letter, optarg, args);
		if (err > 0)
			return err;
		if (err)
			return usage("'%s' is not a valid value", optarg);
	}
	return words_take(command, argc - optind, argv + optind, args);
}
