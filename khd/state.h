/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - what a node keeps on disk while there is no store: its incarnation and
 * the small blobs of the core, one file each, in a directory that one khd at a time uses
 */
#ifndef KHD_STATE_H
#define KHD_STATE_H

#include <stddef.h>
#include <stdint.h>

#define KHD_STATE_KEY_MAX 128 /* bytes of a key */
#define KHD_STATE_BLOB_MAX (16u << 20) /* bytes of a blob */

struct khd_state;

/**
 * khd_state_open() - lock the directory @path and begin the next incarnation
 * @incarnation: out; on disk before the call returns
 *
 * The directory is made (mode 0700) if its parent is there.  Errors are logged.
 * Return: NULL on an error, also when another khd uses the directory.
 */
struct khd_state *khd_state_open(const char *path, uint64_t *incarnation);

/**
 * khd_state_put() - store @blob durably under @key, or delete it if @blob is NULL
 *
 * Old or new content survives a crash, never a mixture.
 * Return: 0 or a negative errno; -EINVAL for a key that is no plain file name.
 */
int khd_state_put(struct khd_state *state, const char *key, const void *blob, size_t len);

/**
 * khd_state_note() - remember one line of text, durably, beside the blobs
 * @name: a file name of khd's own
 *
 * Old or new text survives a crash, never a mixture.  Return: 0 or a negative errno.
 */
int khd_state_note(struct khd_state *state, const char *name, const char *text);

/**
 * khd_state_noted() - the line under @name, without its end
 *
 * Return: 0, -ENOENT, -EINVAL (not one line, or longer than @size - 1), or a negative errno.
 */
int khd_state_noted(struct khd_state *state, const char *name, char *text, size_t size);

/* Forget the line under @name, durably.  0, also if there is none, or a negative errno. */
int khd_state_forget(struct khd_state *state, const char *name);

/**
 * khd_state_each() - call @fn for every blob, in the order of keys
 *
 * Return: 0, the first non-zero result of @fn, or a negative errno.
 */
int khd_state_each(struct khd_state *state,
		   int (*fn)(void *arg, const char *key, const void *blob, size_t len), void *arg);

void khd_state_close(struct khd_state *state);

#endif /* KHD_STATE_H */
