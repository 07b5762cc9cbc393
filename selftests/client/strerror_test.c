// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * strerror_test.c - one dictionary of errnos: that of <linux/khazana.h>
 *
 * Reads both headers, in the source tree that it is run in: what the one defines, and what the
 * other says that its functions return.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <khazana.h>

#define DICTIONARY "uapi/linux/khazana.h"
#define LIBRARY "lib/include/khazana.h"
#define ERRNO_MAX 4095

static const char unknown[] = "an error that Khazana does not define";
static bool defined[ERRNO_MAX + 1];
static unsigned int defined_count;

/* The errno whose name begins at @text, 0 if none does. */
static int errno_at(const char *text)
{
	size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	int error;

	for (error = 1; error <= ERRNO_MAX; error++) {
		const char *name = strerrorname_np(error);

		if (name && strlen(name) == len && !strncmp(name, text, len))
			return error;
	}
	return 0;
}

static char *file_read(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;

	assert_non_null(file);
	assert_true(getdelim(&text, &size, 0, file) > 0);
	fclose(file);
	return text;
}

/* A line of the dictionary is " *   ENAME  meaning". */
static int dictionary_read(void **state)
{
	static const char begin[] = "\n *   E";
	char *text = file_read(DICTIONARY);
	const char *at = text;

	while ((at = strstr(at, begin))) {
		int error;

		at += strlen(begin) - 1;
		error = errno_at(at);
		if (!error || defined[error]) {
			print_error("%s: not an errno, or twice: %.20s\n", DICTIONARY, at);
			return -1;
		}
		defined[error] = true;
		defined_count++;
	}
	free(text);
	return 0;
}

static void what_is_defined_has_its_own_text(void **state)
{
	const char *texts[ERRNO_MAX + 1];
	unsigned int count = 0, i;
	int error;

	assert_true(defined_count >= 20);
	for (error = 1; error <= ERRNO_MAX; error++) {
		const char *text = kh_strerror(error);

		assert_ptr_equal(text, kh_strerror(-error));
		if (!defined[error])
			continue;
		if (!strcmp(text, unknown))
			fail_msg("%s has no text", strerrorname_np(error));
		assert_true(strlen(text) > 10);
		for (i = 0; i < count; i++)
			assert_string_not_equal(text, texts[i]);
		texts[count++] = text;
	}
	assert_int_equal(count, defined_count);
}

static void what_is_not_says_so(void **state)
{
	static const int far[] = {
		ERRNO_MAX + 1, -ERRNO_MAX - 1, 99999, INT_MAX, -INT_MAX, INT_MIN
	};
	unsigned int i;
	int error;

	for (error = 1; error <= ERRNO_MAX; error++)
		if (!defined[error] && strcmp(kh_strerror(error), unknown))
			fail_msg("%s has a text, but is not in %s", strerrorname_np(error),
				 DICTIONARY);
	for (i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		assert_string_equal(kh_strerror(far[i]), unknown);
}

static void nothing_is_a_success(void **state)
{
	assert_string_equal(kh_strerror(0), "success");
}

/* What the documentation of a function names is in the dictionary: "-ENAME". */
static void the_library_returns_no_other(void **state)
{
	char *text = file_read(LIBRARY);
	const char *at = text;
	unsigned int count = 0;

	while ((at = strstr(at, "-E"))) {
		int error = errno_at(++at);

		count += error != 0;
		if (error ? !defined[error] : isupper((unsigned char)at[1]))
			fail_msg("%s: not in the dictionary: %.20s", LIBRARY, at);
	}
	assert_true(count > 50);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_defined_has_its_own_text),
		cmocka_unit_test(what_is_not_says_so),
		cmocka_unit_test(nothing_is_a_success),
		cmocka_unit_test(the_library_returns_no_other),
	};

	return cmocka_run_group_tests(tests, dictionary_read, NULL);
}
