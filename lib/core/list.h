/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * list.h - circular doubly linked lists, the link inside the object
 */
#ifndef KH_CORE_LIST_H
#define KH_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define kh_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct kh_list {
	struct kh_list *next, *prev;
};

static inline void kh_list_init(struct kh_list *list)
{
	list->next = list->prev = list;
}

static inline bool kh_list_empty(const struct kh_list *list)
{
	return list->next == list;
}

/* Before @list: at the tail if @list is the head. */
static inline void kh_list_add(struct kh_list *list, struct kh_list *item)
{
	item->prev = list->prev;
	item->next = list;
	list->prev->next = item;
	list->prev = item;
}

/* Unlinks; harmless for an item that is on no list. */
static inline void kh_list_del(struct kh_list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	kh_list_init(item);
}

/* All items of @from are on @to instead, an empty list that need not be initialised. */
static inline void kh_list_take(struct kh_list *to, struct kh_list *from)
{
	kh_list_init(to);
	if (kh_list_empty(from))
		return;
	*to = *from;
	to->next->prev = to->prev->next = to;
	kh_list_init(from);
}

#define kh_list_first(list, type, member) kh_container((list)->next, type, member)

#define kh_list_each(pos, list, member)                                                          \
	for (pos = kh_container((list)->next, __typeof__(*pos), member); &pos->member != (list); \
	     pos = kh_container(pos->member.next, __typeof__(*pos), member))

/* @pos may be unlinked and freed in the body; @tmp may not. */
#define kh_list_each_safe(pos, tmp, list, member)                           \
	for (pos = kh_container((list)->next, __typeof__(*pos), member),    \
	    tmp = kh_container(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (list);                                        \
	     pos = tmp, tmp = kh_container(tmp->member.next, __typeof__(*tmp), member))

#endif /* KH_CORE_LIST_H */
