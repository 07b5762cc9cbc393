// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main.c - the table of commands
 */
#include <stdio.h>
#include <string.h>

#include "khadm/khadm.h"

static const struct khadm_command commands[] = {
	{ "status", "", false, "show the module and the daemon of this node", khadm_status },
	{ "node list", "", false, "list the nodes of the cluster", khadm_node_list },
	{ "region create", "SUPklwA", false, "reserve a region, print its address",
	  khadm_region_create },
	{ "region list", "a", false, "list the regions known here", khadm_region_list },
	{ "region show", "", true, "show the region that holds ADDR", khadm_region_show },
	{ "region destroy", "kf", true, "give a region back", khadm_region_destroy },
	{ "page show", "", true, "show who holds the unit that holds ADDR", khadm_page_show },
	{ "parked list", "", false, "list the lost stores that this node has put aside",
	  khadm_parked_list },
	{ "parked show", "i", false, "show whose they were", khadm_parked_show },
	{ "parked export", "io", false, "write a unit with lost stores to a file",
	  khadm_parked_export },
	{ "parked discard", "i", false, "throw a unit with lost stores away",
	  khadm_parked_discard },
	{ "stats", "", false, "show the counters of daemon and module", khadm_stats },
	{ "event watch", "n", false, "print events as they happen", khadm_event_watch },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Whether @words begins with the word @word; what follows it is in @rest ("" if nothing). */
static bool begins(const char *words, const char *word, const char **rest)
{
	size_t len = strlen(word);

	if (strncmp(words, word, len) || (words[len] && words[len] != ' '))
		return false;
	*rest = words + len + (words[len] == ' ');
	return true;
}

/* The commands below @object, or all. */
static void help_list(FILE *to, const char *object)
{
	const char *rest;

	fprintf(to, "usage: khadm %s [OPTIONS]\n\n", object ? object : "COMMAND");
	for (unsigned int i = 0; i < COMMANDS; i++) {
		char line[64];

		if (object && !begins(commands[i].words, object, &rest))
			continue;
		snprintf(line, sizeof(line), "%s%s", commands[i].words,
			 commands[i].addr ? " ADDR" : "");
		fprintf(to, "  khadm %-22s %s\n", line, commands[i].summary);
	}
	fprintf(to, "\nAll take -j (JSON), --socket PATH, --timeout MS and --help.\n");
}

static void help_command(const struct khadm_command *command)
{
	printf("usage: khadm %s%s [OPTIONS]\n\n%s\n\n", command->words,
	       command->addr ? " ADDR" : "", command->summary);
	khadm_options_help(command);
	printf("\nExit status: 0 ok, 1 refused, 2 usage, 3 not found, 4 permission or key,\n"
	       "5 module or daemon unreachable, 7 timeout.\n");
}

/* The word that @word at its place (after @object, or first) might have been. */
static int unknown(const char *object, const char *word)
{
	const char *words[COMMANDS], *near, *rest;
	char first[COMMANDS][16];
	unsigned int count = 0;

	for (unsigned int i = 0; i < COMMANDS; i++) {
		if (!object) {
			snprintf(first[count], sizeof(first[count]), "%.*s",
				 (int)strcspn(commands[i].words, " "), commands[i].words);
			words[count] = first[count];
			count++;
		} else if (begins(commands[i].words, object, &rest)) {
			words[count++] = rest;
		}
	}
	near = khadm_nearest(word, words, count);
	fprintf(stderr, "khadm: unknown %s '%s'", object ? object : "command", word);
	if (near)
		fprintf(stderr, "; did you mean '%s%s%s'?", object ? object : "", object ? " " : "",
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
	const char *object = NULL, *rest;

	rotate(argc, argv, leading(argc, argv));
	if (argc < 2 || argv[1][0] == '-' || is_help(argv[1])) {
		bool asked = argc > 1 && is_help(argv[1]);

		help_list(asked ? stdout : stderr, NULL);
		return asked ? KHADM_OK : KHADM_USAGE;
	}
	for (unsigned int i = 0; i < COMMANDS; i++) {
		if (!begins(commands[i].words, argv[1], &rest))
			continue;
		if (!*rest)
			return run(&commands[i], argc - 1, argv + 1);
		object = argv[1];
		if (argc > 2 && !strcmp(rest, argv[2]))
			return run(&commands[i], argc - 2, argv + 2);
	}
	if (!object)
		return unknown(NULL, argv[1]);
	if (argc < 3 || is_help(argv[2])) {
		help_list(argc < 3 ? stderr : stdout, object);
		return argc < 3 ? KHADM_USAGE : KHADM_OK;
	}
	return unknown(object, argv[2]);
}
