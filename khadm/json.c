// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * json.c - messages as JSON, by the names of the specification
 */
#include <stdio.h>
#include <string.h>

#include "khadm/khadm.h"

/* Text of another process: only what JSON and a terminal can bear. */
static json_t *string_value(const struct kh_nla *nla)
{
	char text[KH_NLB_STRING_MAX];

	kh_nla_string(nla, text, sizeof(text));
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return json_string(text);
}

static json_t *hex_value(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

static json_t *number_value(uint64_t value, uint8_t hint)
{
	return hint == KH_NL_HEX || value > INT64_MAX ? hex_value(value) : json_integer(value);
}

static json_t *enum_value(const struct kh_nl_enum *values, uint32_t value)
{
	json_t *list;

	if (!values->flags) {
		if (value - values->first < values->count)
			return json_string(values->names[value - values->first]);
		return json_integer(value);
	}
	list = json_array();
	for (uint32_t bit = 0; bit < 32; bit++) {
		if (!(value & 1u << bit))
			continue;
		json_array_append_new(list, bit < values->count ? json_string(values->names[bit]) :
								  hex_value(1u << bit));
	}
	return list;
}

static json_t *value_of(const struct kh_nl_attr *spec, const struct kh_nla *nla)
{
	char text[KH_ADDR_TEXT];

	switch (spec->type) {
	case KH_NL_FLAG:
		return json_true();
	case KH_NL_U32:
		return spec->values ? enum_value(spec->values, kh_nla_u32(nla)) :
				      number_value(kh_nla_u32(nla), spec->hint);
	case KH_NL_U64:
		return number_value(kh_nla_u64(nla), spec->hint);
	case KH_NL_S64:
		return json_integer((int64_t)kh_nla_u64(nla));
	case KH_NL_STRING:
		return string_value(nla);
	case KH_NL_NEST:
		return khadm_json(spec->nested, nla->data, nla->len);
	default:
		if (spec->hint != KH_NL_ADDRESS)
			return NULL;
		kh_addr_format(kh_nla_addr(nla), text);
		return json_string(text);
	}
}

json_t *khadm_json(const struct kh_nl_set *set, const uint8_t *buf, size_t len)
{
	struct kh_nla_cursor cursor = kh_nla_begin(buf, len);
	json_t *object = json_object(), *value;
	struct kh_nla nla;

	for (unsigned int i = 1; i < set->count; i++) {
		if (set->attrs[i].type == KH_NL_FLAG)
			json_object_set_new(object, set->attrs[i].name, json_false());
		else if (set->attrs[i].multi)
			json_object_set_new(object, set->attrs[i].name, json_array());
	}
	while (kh_nla_next(&cursor, &nla)) {
		const struct kh_nl_attr *spec = nla.type < set->count ? &set->attrs[nla.type] :
									NULL;

		value = spec ? value_of(spec, &nla) : NULL;
		if (value && spec->multi)
			json_array_append_new(json_object_get(object, spec->name), value);
		else if (value)
			json_object_set_new(object, spec->name, value);
	}
	return object;
}
