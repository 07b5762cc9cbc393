// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * addr.c - global addresses as text
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <khazana.h>

void kh_addr_format(struct khazana_addr addr, char text[KH_ADDR_TEXT])
{
	snprintf(text, KH_ADDR_TEXT, "%llx:%llx", (unsigned long long)addr.hi,
		 (unsigned long long)addr.lo);
}

/* One half: 1 to 16 hexadecimal digits, 0x allowed; the first character behind it, or NULL. */
static const char *parse_half(const char *text, __u64 *value)
{
	size_t digits;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	digits = strspn(text, "0123456789abcdefABCDEF");
	if (!digits || digits > 16)
		return NULL;
	*value = strtoull(text, NULL, 16);
	return text + digits;
}

int kh_addr_parse(const char *text, struct khazana_addr *addr)
{
	struct khazana_addr parsed;
	const char *rest = parse_half(text, &parsed.hi);

	if (!rest || *rest != ':')
		return -EINVAL;
	rest = parse_half(rest + 1, &parsed.lo);
	if (!rest || *rest)
		return -EINVAL;
	*addr = parsed;
	return 0;
}
