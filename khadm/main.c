// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - the table of commands
 */
#include <stdio.h>
#include <string.h>

#include "khadm/khadm.h"

static const struct khadm_command commands[] = {
	{ "status", "", KHADM_NO_WORD, "show the module and the daemon of this node",
	  khadm_status },
	{ "health", "", KHADM_NO_WORD, "say what is wrong and what to do", khadm_health },
	{ "node list", "", KHADM_NO_WORD, "list the nodes of the cluster", khadm_node_list },
	{ "region create", "SUPDklwA", KHADM_NO_WORD, "reserve a region, print its address",
	  khadm_region_create },
	{ "region list", "a", KHADM_NO_WORD, "list the regions known here", khadm_region_list },
	{ "region show", "", KHADM_ADDR, "show the region that holds ADDR", khadm_region_show },
	{ "region destroy", "kf", KHADM_ADDR, "give a region back", khadm_region_destroy },
	{ "page show", "", KHADM_ADDR, "show who holds the unit that holds ADDR", khadm_page_show },
	{ "memory resize", "", KHADM_SIZE, "change the limit of page frames in memory",
	  khadm_memory_resize },
	{ "store status", "", KHADM_NO_WORD, "show the page store of this node",
	  khadm_store_status },
	{ "store check", "", KHADM_DIR, "verify the store in DIR, which no khd uses",
	  khadm_store_check },
	{ "store rebuild", "", KHADM_DIR, "make the index of the store in DIR anew",
	  khadm_store_rebuild },
	{ "store scrub", "r", KHADM_NO_WORD, "verify every stored unit, in the background",
	  khadm_store_scrub },
	{ "store resize", "", KHADM_SIZE, "change the size of the store", khadm_store_resize },
	{ "store parked list", "", KHADM_NO_WORD, "list the units kept aside",
	  khadm_store_parked_list },
	{ "store parked show", "", KHADM_ID, "show one, beside what its home says now",
	  khadm_store_parked_show },
	{ "store parked export", "o", KHADM_ID, "write the contents of one to a file",
	  khadm_store_parked_export },
	{ "store parked discard", "", KHADM_ID, "forget one for good", khadm_store_parked_discard },
	{ "parked list", "", KHADM_NO_WORD, "list the lost stores that the module has put aside",
	  khadm_parked_list },
	{ "parked show", "", KHADM_ID, "show whose they were", khadm_parked_show },
	{ "parked export", "o", KHADM_ID, "write a unit with lost stores to a file",
	  khadm_parked_export },
	{ "parked discard", "", KHADM_ID, "throw a unit with lost stores away",
	  khadm_parked_discard },
	{ "stats", "", KHADM_NO_WORD, "show the counters of daemon and module", khadm_stats },
	{ "event watch", "n", KHADM_NO_WORD, "print events as they happen", khadm_event_watch },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char *const word_names[] = {
	[KHADM_NO_WORD] = "", [KHADM_ADDR] = " ADDR", [KHADM_SIZE] = " SIZE",
	[KHADM_ID] = " ID",   [KHADM_DIR] = " DIR",
};

/* How many of the @argc words in @argv begin @words; what follows them is in @rest. */
static int matching(const char *words, int argc, char **argv, const char **rest)
{
	int count = 0;

	while (count < argc && *words) {
		size_t len = strlen(argv[count]);

		if (!len || strncmp(words, argv[count], len) || (words[len] && words[len] != ' '))
			break;
		words += len + (words[len] == ' ');
		count++;
	}
	*rest = words;
	return count;
}

/* The @given words of @argv that begin a command, as one text. */
static const char *join(int given, char **argv)
{
	static char text[64];
	size_t at = 0;

	text[0] = '\0';
	for (int i = 0; i < given && at < sizeof(text); i++)
		at += snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", argv[i]);
	return text;
}

/* The commands that begin with the @given words of @argv. */
static void help_list(FILE *to, int given, char **argv)
{
	const char *rest;

	fprintf(to, "usage: khadm %s [OPTIONS]\n\n", given ? join(given, argv) : "COMMAND");
	for (unsigned int i = 0; i < COMMANDS; i++) {
		char line[64];

		if (matching(commands[i].words, given, argv, &rest) < given)
			continue;
		snprintf(line, sizeof(line), "%s%s", commands[i].words,
			 word_names[commands[i].word]);
		fprintf(to, "  khadm %-23s %s\n", line, commands[i].summary);
	}
	fprintf(to, "\nAll take -j (JSON), --socket PATH, --timeout MS and --help.\n");
}

static void help_command(const struct khadm_command *command)
{
	printf("usage: khadm %s%s [OPTIONS]\n\n%s\n\n", command->words, word_names[command->word],
	       command->summary);
	khadm_options_help(command);
	printf("\nExit status: 0 ok, 1 refused, 2 usage, 3 not found, 4 permission or key,\n"
	       "5 module or daemon unreachable, 6 something is wrong (health, store check), 7 "
	       "timeout.\n");
}

/* What the word behind the @given ones of @argv might have been. */
static int unknown(int given, char **argv)
{
	const char *words[COMMANDS], *near, *rest;
	char next[COMMANDS][16];
	unsigned int count = 0;

	for (unsigned int i = 0; i < COMMANDS; i++) {
		if (matching(commands[i].words, given, argv, &rest) < given)
			continue;
		snprintf(next[count], sizeof(next[count]), "%.*s", (int)strcspn(rest, " "), rest);
		words[count] = next[count];
		count++;
	}
	near = khadm_nearest(argv[given], words, count);
	fprintf(stderr, "khadm: unknown %s '%s'", given ? join(given, argv) : "command",
		argv[given]);
	if (near)
		fprintf(stderr, "; did you mean '%s%s%s'?", join(given, argv), given ? " " : "",
			near);
	fprintf(stderr, "\n");
	return KHADM_USAGE;
}

static bool is_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

static int run(const struct khadm_command *command, int argc, char **argv)
{
	struct khadm_args args;
	int ret = khadm_options_parse(command, argc, argv, &args);

	if (ret < 0) {
		help_command(command);
		return KHADM_OK;
	}
	if (!ret)
		ret = command->run(&args);
	explicit_bzero(args.key, sizeof(args.key));
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "khadm: cannot write the output\n");
		return ret ? ret : KHADM_REFUSED;
	}
	return ret;
}

/* Options may precede the words: move those behind them. Return: how many there are. */
static int leading(int argc, char **argv)
{
	int count = 0;

	while (count + 1 < argc && argv[count + 1][0] == '-' && !is_help(argv[count + 1])) {
		const char *word = argv[++count];

		if ((!strcmp(word, "-s") || !strcmp(word, "-t") || !strcmp(word, "--socket") ||
		     !strcmp(word, "--timeout")) &&
		    count + 1 < argc)
			count++;
	}
	return count;
}

static void rotate(int argc, char **argv, int by)
{
	while (by--) {
		char *first = argv[1];

		memmove(argv + 1, argv + 2, (argc - 2) * sizeof(*argv));
		argv[argc - 1] = first;
	}
}

int main(int argc, char **argv)
{
	const char *rest;
	int given = 0;

	rotate(argc, argv, leading(argc, argv));
	if (argc < 2 || argv[1][0] == '-' || is_help(argv[1])) {
		bool asked = argc > 1 && is_help(argv[1]);

		help_list(asked ? stdout : stderr, 0, NULL);
		return asked ? KHADM_OK : KHADM_USAGE;
	}
	for (unsigned int i = 0; i < COMMANDS; i++) {
		int count = matching(commands[i].words, argc - 1, argv + 1, &rest);

		if (!*rest)
			return run(&commands[i], argc - count, argv + count);
		if (count > given)
			given = count;
	}
	if (given == argc - 1 || is_help(argv[given + 1])) {
		help_list(given == argc - 1 ? stderr : stdout, given, argv + 1);
		return given == argc - 1 ? KHADM_USAGE : KHADM_OK;
	}
	return unknown(given, argv + 1);
}
