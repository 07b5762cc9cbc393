// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * print.c - documents, for programs and for people
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khadm/khadm.h"

void khadm_print_json(json_t *document, const char *schema)
{
	json_t *all = json_object();

	json_object_set_new(all, "schema", json_string(schema));
	json_object_update(all, document);
	json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(all);
	json_decref(document);
}

static char *bytes_text(uint64_t bytes)
{
	static const char suffixes[] = "KMGT";
	char *text = NULL;
	int i = -1;

	while (i < 3 && bytes && !(bytes & 1023)) {
		bytes >>= 10;
		i++;
	}
	if (asprintf(&text, i < 0 ? "%llu" : "%llu%c", (unsigned long long)bytes,
		     i < 0 ? 0 : suffixes[i]) < 0)
		abort();
	return text;
}

static char *copy(const char *text)
{
	char *mine = strdup(text);

	if (!mine)
		abort();
	return mine;
}

static char *list_text(const json_t *list)
{
	char *text = copy(""), *part, *more;
	const json_t *value;
	size_t i;

	json_array_foreach(list, i, value)
	{
		part = khadm_text(value, false);
		if (asprintf(&more, "%s%s%s", text, *text ? "," : "", part) < 0)
			abort();
		free(part);
		free(text);
		text = more;
	}
	if (*text)
		return text;
	free(text);
	return copy("-");
}

char *khadm_text(const json_t *value, bool bytes)
{
	char *text = NULL;

	if (json_is_string(value))
		return copy(json_string_value(value));
	if (json_is_boolean(value))
		return copy(json_is_true(value) ? "yes" : "no");
	if (json_is_array(value))
		return list_text(value);
	if (!json_is_integer(value))
		return copy("-");
	if (bytes)
		return bytes_text(json_integer_value(value));
	if (asprintf(&text, "%lld", (long long)json_integer_value(value)) < 0)
		abort();
	return text;
}

/* The member @key, which may be "outer.inner". */
static const json_t *member(const json_t *object, const char *key)
{
	const char *dot = strchr(key, '.');
	char outer[32];

	if (!dot)
		return json_object_get(object, key);
	snprintf(outer, sizeof(outer), "%.*s", (int)(dot - key), key);
	return json_object_get(json_object_get(object, outer), dot + 1);
}

void khadm_print_table(const json_t *list, const struct khadm_column *columns)
{
	size_t rows = json_array_size(list), count = 0;
	int *width;
	char *text;

	while (columns[count].title)
		count++;
	width = calloc(count, sizeof(*width));
	if (!width)
		abort();
	for (size_t c = 0; c < count; c++) {
		width[c] = strlen(columns[c].title);
		for (size_t r = 0; r < rows; r++) {
			text = khadm_text(member(json_array_get(list, r), columns[c].key),
					  columns[c].bytes);
			if ((int)strlen(text) > width[c])
				width[c] = strlen(text);
			free(text);
		}
	}
	for (size_t c = 0; c < count; c++)
		printf("%-*s%s", c + 1 < count ? width[c] : 0, columns[c].title,
		       c + 1 < count ? "  " : "\n");
	for (size_t r = 0; r < rows; r++) {
		for (size_t c = 0; c < count; c++) {
			text = khadm_text(member(json_array_get(list, r), columns[c].key),
					  columns[c].bytes);
			printf("%-*s%s", c + 1 < count ? width[c] : 0, text,
			       c + 1 < count ? "  " : "\n");
			free(text);
		}
	}
	free(width);
}

void khadm_print_fields(const json_t *object, const struct khadm_column *columns)
{
	int width = 0;

	for (size_t c = 0; columns[c].title; c++)
		if ((int)strlen(columns[c].title) > width)
			width = strlen(columns[c].title);
	for (size_t c = 0; columns[c].title; c++) {
		const json_t *value = member(object, columns[c].key);
		char *text;

		if (!value)
			continue;
		text = khadm_text(value, columns[c].bytes);
		printf("  %s:%*s %s\n", columns[c].title, width - (int)strlen(columns[c].title), "",
		       text);
		free(text);
	}
}

void khadm_print_members(const json_t *object)
{
	const char *key;
	json_t *value;
	int width = 0;
	char *text;

	json_object_foreach((json_t *)object, key, value)
	{
		if ((int)strlen(key) > width)
			width = strlen(key);
	}
	json_object_foreach((json_t *)object, key, value)
	{
		text = khadm_text(value, false);
		printf("  %-*s %12s\n", width, key, text);
		free(text);
	}
}
