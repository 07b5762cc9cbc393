/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * schema.h - the specification of control messages as tables
 *
 * The tables (schema_gen.c) are generated from Documentation/netlink/specs/khazana.yaml;
 * the parser checks messages against them and khadm takes its JSON names from them.
 */
#ifndef KH_CTL_SCHEMA_H
#define KH_CTL_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/khazana_netlink.h>

#define KH_NL_SET_MAX 64 /* attributes of one set, number 0 included */

enum kh_nl_type {
	KH_NL_NONE, /* no such attribute */
	KH_NL_PAD,
	KH_NL_FLAG, /* present or absent */
	KH_NL_U32,
	KH_NL_U64,
	KH_NL_S64,
	KH_NL_STRING, /* with its NUL, and no other */
	KH_NL_BINARY, /* of one exact length */
	KH_NL_NEST,
};

enum kh_nl_hint {
	KH_NL_PLAIN,
	KH_NL_HEX,
	KH_NL_ADDRESS, /* 16 bytes, big endian */
	KH_NL_SECRET, /* never shown */
	KH_NL_DATA, /* contents; not part of a document */
};

/**
 * struct kh_nl_enum - names of values
 * @flags: the names are those of bits
 * @first: value of names[0]; 0 for flags
 * @count: names
 * @names: with dashes
 */
struct kh_nl_enum {
	bool flags;
	uint32_t first;
	uint32_t count;
	const char *const *names;
};

/**
 * struct kh_nl_attr - one attribute of a set
 * @name: with underscores, as in JSON
 * @type: enum kh_nl_type
 * @hint: enum kh_nl_hint
 * @multi: may occur several times
 * @size: STRING: most bytes with the NUL; BINARY: bytes
 * @values: names of values, or NULL
 * @nested: NEST: the set inside
 */
struct kh_nl_attr {
	const char *name;
	uint8_t type;
	uint8_t hint;
	bool multi;
	uint16_t size;
	const struct kh_nl_enum *values;
	const struct kh_nl_set *nested;
};

/* An attribute set; attrs[0] is nothing, @count includes it. */
struct kh_nl_set {
	const char *name;
	unsigned int count;
	const struct kh_nl_attr *attrs;
};

/**
 * struct kh_nl_op - one operation
 * @name: with dashes; NULL where the number is not used
 * @set: of its attributes
 * @request: bit mask of the attributes that a request may have
 * @khd: owned by khd, else by the module
 * @dump: the answer is a list
 */
struct kh_nl_op {
	const char *name;
	const struct kh_nl_set *set;
	uint64_t request;
	bool khd;
	bool dump;
};

extern const struct kh_nl_op kh_nl_ops[KHAZANA_NL_CMD_MAX + 1];

#endif /* KH_CTL_SCHEMA_H */
