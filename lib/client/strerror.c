// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * strerror.c - the errno dictionary of <linux/khazana.h>, as sentences
 */
#include <errno.h>
#include <khazana.h>

static const struct {
	int error;
	const char *text;
} dictionary[] = {
	{ 0, "success" },
	{ EINVAL, "malformed request: size, flags, alignment or overflow" },
	{ E2BIG, "a structure longer than known, with a non-zero tail" },
	{ EFAULT, "a pointer that cannot be read or written" },
	{ ENOENT, "no such region, unit or request" },
	{ ENXIO, "the range is reserved, but no storage is allocated for it" },
	{ ERANGE, "the range leaves the region, the window or the lock" },
	{ EKEYREJECTED, "the region's key is wrong" },
	{ EPERM, "not permitted: needs CAP_NET_ADMIN in the instance's namespace" },
	{ EACCES, "opened, mapped or locked without the right that this needs" },
	{ EBUSY, "in use: attached, mapped or locked" },
	{ EAGAIN, "another holder has it, and waiting was not wanted" },
	{ ETIMEDOUT, "the time limit passed" },
	{ EDEADLK, "waiting would never end: it closes a cycle" },
	{ EIO, "the only current copy is lost, damaged or out of reach, or a disk failed" },
	{ ESTALE, "the lease had ended with stores unsaved: attach again" },
	{ ENODEV, "no khd on this machine, or the khazana module is not loaded" },
	{ ESHUTDOWN, "the network namespace of this instance is gone" },
	{ ENOMEM, "no memory, or the limit of frames is reached" },
	{ ENOSPC, "no room for more storage" },
	{ EINPROGRESS, "a revocation is still under way" },
	{ EALREADY, "nothing to do any more" },
	{ EOPNOTSUPP, "this version cannot do that" },
	{ EINTR, "interrupted by a signal" },
	{ EPROTO, "the answer of khd cannot be understood: it is of another version" },
	{ ENAMETOOLONG, "the path of khd's socket is too long" },
	{ EMFILE, "this process can open no more files" },
	{ ENFILE, "this machine can open no more files" },
};

const char *kh_strerror(int error)
{
	unsigned int i;

	for (i = 0; i < sizeof(dictionary) / sizeof(dictionary[0]); i++)
		if (dictionary[i].error == error || -dictionary[i].error == error)
			return dictionary[i].text;
	return "an error that Khazana does not define";
}
