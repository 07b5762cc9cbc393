/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flush, how one unit is stored at its place and goes on from there (R26 to R29 of
 * Documentation/protocol.rst), as lib/core/store.c, flush.c, keep.c and unit.c do it: a home, its
 * place and two holders. Rights are granted in one step (crew.pml searches how). See README.rst.
 */
#ifndef OPS
#define OPS 3		/* reads and writes; which, and by whom, is free */
#endif
#ifndef FLUSHES
#define FLUSHES 1	/* calls for a flush */
#endif
#ifndef LOSSES
#define LOSSES 0	/* messages lost */
#endif
#ifndef STRAYS
#define STRAYS 0	/* STOREs that come a second time, any time later */
#endif
#ifndef RESTARTS
#define RESTARTS 0	/* of the home's khd */
#endif
#ifndef CRASHES
#define CRASHES 0	/* of the place */
#endif
#ifndef KILLS
#define KILLS 0		/* modules lost, with all they hold */
#endif
#ifndef LATES
#define LATES 0		/* waits that end though the answer is under way */
#endif

#define NOBODY 2

#define NONE	0	/* rights */
#define READ	1
#define WRITE	2

#define NOT	0	/* what is done to store the unit */
#define ASKED	1	/* FLUSH has left: the unit is busy */
#define WRITTEN	2	/* GOT: the place has it, not durable yet */
#define AGAIN	3
#define LOOKING	4

#define SETTLED	0
#define LOOK_	1
#define LOST	2
#define LATER	3

mtype = { FLUSH, SAFE, ABSENT, GOT, FOUND };

/* The holders' modules; a frame that is not owned may be dropped at any time. */
byte right[2], fver[2], fbody[2], hver[2], hbody[2], floor[2];
bit owned[2];

/* The home's directory, lost with its khd. */
byte owner = NOBODY, oright, version, seen, backup = NOBODY, bver;
bit copy[2], ovoid, fresh;
byte stored, storing, stok, ltok, source;
bit known = 1, unsure, flushout;
byte number, safe, need;
byte tokens, epoch;			/* tokens are never used again */

/* The place: what is durable, what is being written, what is refused. */
byte sver, sbody, fence, looked;
chan writing = [2] of { byte, byte, byte };

chan toholder0 = [3] of { mtype, byte, byte };
chan toholder1 = [3] of { mtype, byte, byte };
chan toplace0 = [2] of { byte, byte, byte };	/* STORE: token, version, xbody */
chan toplace1 = [2] of { byte, byte, byte };
chan tolook = [2] of { byte, bit, byte };	/* LOOK: token, fence, epoch */
chan tohome = [5] of { mtype, byte, byte, bit };	/* token, version, error */
byte stray_tok, stray_ver, stray_body;

/* The observer: contents are numbered as they are written. */
byte cur, bodies, cover, acked, losses;
byte saw[2], mine, caller;		/* what a node has seen; of the flush's caller, when it began */
bit flushing;
byte ops_left = OPS, flushes_left = FLUSHES, losses_left = LOSSES, strays_left = STRAYS;
byte restarts_left = RESTARTS, crashes_left = CRASHES, kills_left = KILLS, lates_left = LATES;

hidden byte xn, xw, xt, xv, xb, xe, xres, xi, xbody;
hidden mtype xm;

#define OTHER(n) (1 - (n))
#define CLEAN (version == 0 || (known && stored == version && !unsure && (owner == NOBODY || oright != WRITE)))
#define QUIET (len(toholder0) == 0 && len(toholder1) == 0 && len(toplace0) == 0 && len(toplace1) == 0 && \
	len(tolook) == 0 && len(tohome) == 0 && len(writing) == 0 && looked == 0)
#define FREE_(unit) (storing != ASKED && storing != LOOKING)

inline send_holder(n, kind, tok, ver)
{
	if
	:: n == 0 && len(toholder0) < 3 -> toholder0!kind,tok,ver
	:: n == 1 && len(toholder1) < 3 -> toholder1!kind,tok,ver
	:: else
	fi
}

inline send_store(n, tok, ver, bod)
{
	if
	:: n == 0 && len(toplace0) < 2 -> toplace0!tok,ver,bod
	:: n == 1 && len(toplace1) < 2 -> toplace1!tok,ver,bod
	:: else
	fi
}

inline answer(kind, tok, ver, err)
{
	if
	:: len(tohome) < 5 -> tohome!kind,tok,ver,err
	:: else
	fi
}

inline replace_owner()
{
	xi = (copy[0] -> 0 : (copy[1] -> 1 : NOBODY));
	if
	:: xi != NOBODY && right[xi] != NONE && fver[xi] == version ->
		owner = xi; oright = READ; owned[xi] = 1; copy[xi] = 0; ovoid = 0; xres = SETTLED
	:: xi != NOBODY && !(right[xi] != NONE && fver[xi] == version) ->
		copy[xi] = 0; xres = LATER
	:: xi == NOBODY && backup != NOBODY && bver >= seen && bver > stored ->
		owner = backup; oright = NONE; version = bver; ovoid = 0; backup = NOBODY; bver = 0;
		xres = SETTLED
	:: xi == NOBODY && !(backup != NOBODY && bver >= seen && bver > stored) ->
		if
		:: !fresh && (stored == 0 || stored < seen) -> xres = LOST
		:: else ->
			owner = NOBODY; oright = NONE; ovoid = 0; version = stored; seen = stored;
			fresh = 0; xres = SETTLED
		fi
	fi
}

/* unit.c settle(): who has the unit's version? */
inline settle()
{
	if
	:: unsure && known ->
		unsure = 0;
		if
		:: stored > version ->
			if
			:: owner != NOBODY && oright == NONE && backup == NOBODY -> backup = owner; bver = version
			:: else
			fi;
			owner = NOBODY; oright = NONE; copy[0] = 0; copy[1] = 0;
			version = stored; seen = stored
		:: else
		fi
	:: else
	fi;
	if
	:: owner != NOBODY && !ovoid && !unsure -> xres = SETTLED
	:: !(owner != NOBODY && !ovoid && !unsure) && (!known || flushout) -> xres = LOOK_
	:: !(owner != NOBODY && !ovoid && !unsure) && known && !flushout ->
		if
		:: owner == NOBODY && !copy[0] && !copy[1] && version == stored -> xres = SETTLED
		:: !(owner == NOBODY && !copy[0] && !copy[1] && version == stored) && stored != 0 && stored == version ->
			owner = NOBODY; oright = NONE; ovoid = 0; xres = SETTLED
		:: else -> replace_owner()
		fi
	fi
}

/* kh_unit_forget(): it says that it has nothing. */
inline forget(n)
{
	copy[n] = 0;
	if
	:: backup == n -> backup = NOBODY; bver = 0
	:: else
	fi;
	if
	:: owner == n ->
		owner = NOBODY; oright = NONE; ovoid = 0;
		if
		:: fresh -> version = (known -> stored : 0); seen = version; fresh = 0
		:: else
		fi
	:: else
	fi
}

inline look()
{
	tokens = tokens + 2; ltok = tokens;
	storing = LOOKING;
	if
	:: len(tolook) < 2 -> tolook!ltok,flushout,epoch
	:: else
	fi
}

inline flush_over()
{
	if
	:: flushing && safe >= need ->
		flushing = 0; need = 0;
		/* I7; what only a lost module had, and no other node had seen, may be lost (R11) */
		cover = (losses == 0 -> cover : mine);
		assert(sbody >= cover);
		acked = (cover > acked -> cover : acked);
		cover = 0; mine = 0
	:: else
	fi
}

/* kh_unit_store() and kh_store_run() */
inline store_run()
{
	storing = NOT;
	settle();
	if
	:: xres == LOOK_ -> look()
	:: xres == LATER -> storing = AGAIN
	:: xres == LOST -> flushing = 0; need = 0; cover = 0; mine = 0	/* EIO */
	:: xres == SETTLED && CLEAN -> number++; safe = number; flush_over()
	:: xres == SETTLED && !CLEAN ->
		source = owner;
		if
		:: source == NOBODY -> storing = AGAIN
		:: else ->
			number++;
			tokens = tokens + 2; stok = tokens;
			storing = ASKED; flushout = 1;
			send_holder(source, FLUSH, stok, version)
		fi
	fi
}

inline on_got()
{
	if
	:: storing == ASKED && xt == stok ->
		if
		:: xv == version && owner == source && oright == WRITE -> oright = READ
		:: else
		fi;
		storing = WRITTEN;
#ifdef PLANT_EARLY_SAFE
		safe = number; flush_over()
#endif
	:: else
	fi
}

/* What is durable need not be kept in memory: R29. */
inline tell_holders()
{
	if
	:: backup != NOBODY && bver <= stored ->
		hver[backup] = 0; hbody[backup] = 0; backup = NOBODY; bver = 0
	:: else
	fi;
	if
	:: stored == version && oright == READ && owner != NOBODY && !ovoid ->
		send_holder(owner, SAFE, 0, version)
	:: else
	fi
}

inline on_safe()
{
	if
	:: xt == stok ->
		/* What the directory did not take in is still not known. */
		if
		:: xe || storing == WRITTEN -> flushout = 0
		:: else
		fi;
		if
		:: storing == ASKED && xe -> storing = AGAIN
		:: storing == WRITTEN && xe -> storing = AGAIN
		:: storing == WRITTEN && !xe ->
			stored = (xv > stored || !known -> xv : stored); known = 1;
			safe = number; storing = NOT;
			tell_holders();
			flush_over()
		:: else
		fi
	:: else
	fi
}

inline on_found()
{
	if
	:: storing == LOOKING && xt == ltok ->
		storing = NOT; flushout = 0; stored = xv; known = 1;
		if
		:: owner == NOBODY && !copy[0] && !copy[1] && version < stored -> version = stored
		:: else
		fi
	:: else
	fi
}

proctype home()
{
end:	do
	:: atomic { tohome?xm,xt,xv,xe ->
		if
		:: xt < epoch
		:: xt >= epoch && xm == GOT -> on_got()
		:: xt >= epoch && xm == SAFE -> on_safe()
		:: xt >= epoch && xm == FOUND -> on_found()
		:: xt >= epoch && xm == ABSENT ->
			if
			:: storing == ASKED && xt == stok -> forget(source); storing = AGAIN
			:: else
			fi
		fi;
		xt = 0; xv = 0; xe = 0 }
	od
}

/* Waits end when nothing is under way that could end them, and some before. */
proctype timer()
{
end:	do
	:: atomic { storing == AGAIN || (storing == NOT && flushing) || (storing != NOT && QUIET) ||
		(storing == NOT && !CLEAN && QUIET && flushes_left == 0 && ops_left == 0) ->	/* flush_ms */
		store_run() }
	:: atomic { storing != NOT && storing != AGAIN && !QUIET && lates_left > 0 -> lates_left--; storing = AGAIN }
	od
}

inline flush_me(n)
{
	if
	:: right[n] != NONE && fver[n] == xv -> right[n] = READ; send_store(n, xt, xv, fbody[n])
	:: !(right[n] != NONE && fver[n] == xv) && hver[n] != 0 && hver[n] == xv -> send_store(n, xt, xv, hbody[n])
	:: else -> answer(ABSENT, xt, 0, 0)
	fi
#ifdef PLANT_EVICT_EARLY
	;
	owned[n] = 0
#endif
}

inline heard(n)
{
	if
	:: xm == FLUSH && xt >= floor[n] -> flush_me(n)
	:: xm == SAFE && right[n] == READ && fver[n] == xv -> owned[n] = 0
	:: else
	fi;
	xt = 0; xv = 0
}

proctype holder()
{
end:	do
	:: atomic { toholder0?xm,xt,xv -> heard(0) }
	:: atomic { toholder1?xm,xt,xv -> heard(1) }
	:: atomic { right[0] == READ && !owned[0] -> right[0] = NONE; fver[0] = 0; fbody[0] = 0 }
	:: atomic { right[1] == READ && !owned[1] -> right[1] = NONE; fver[1] = 0; fbody[1] = 0 }
	od
}

/* keep.c kh_on_store() */
inline take()
{
	if
#ifdef PLANT_NO_FENCE
	:: len(writing) == 2 -> answer(SAFE, xt, xv, 1)
	:: len(writing) < 2 ->
#else
	:: xt < fence || len(writing) == 2 -> answer(SAFE, xt, xv, 1)
	:: xt >= fence && len(writing) < 2 ->
#endif
		writing!xt,xv,xb;
		answer(GOT, xt, xv, 0)
	fi;
	xt = 0; xv = 0; xb = 0
}

inline write_down()
{
#ifdef PLANT_BACKWARDS
	sver = xv; sbody = xb; xe = 0;
#else
	if
	:: xv >= sver -> sver = xv; sbody = xb; xe = 0
	:: xv < sver -> xe = 1
	fi;
#endif
}

proctype place()
{
end:	do
	:: atomic { toplace0?xt,xv,xb -> take() }
	:: atomic { toplace1?xt,xv,xb -> take() }
	:: atomic { stray_tok != 0 ->
		xt = stray_tok; xv = stray_ver; xb = stray_body;
		stray_tok = 0; stray_ver = 0; stray_body = 0;
		take() }
	:: atomic { writing?xt,xv,xb -> write_down(); answer(SAFE, xt, xv, xe); xt = 0; xv = 0; xb = 0; xe = 0 }
	:: atomic { looked == 0 && tolook?[xt,xe,xb] -> tolook?xt,xe,xb;
		looked = xt;
		fence = (xb > fence -> xb : fence);
		fence = (xe && xt > fence -> xt : fence);
		xt = 0; xe = 0; xb = 0 }
	/* What has come is written before the answer. */
#ifdef PLANT_LOOK_BESIDE
	:: atomic { looked != 0 -> answer(FOUND, looked, sver, 0); looked = 0 }
#else
	:: atomic { looked != 0 && len(writing) == 0 -> answer(FOUND, looked, sver, 0); looked = 0 }
#endif
	od
}

/* Where the version that settle() found is: xres, xbody. */
inline fetch(n)
{
	xi = owner;
	if
	:: xi == NOBODY && version == 0 -> xbody = 0; xres = SETTLED
	:: xi == NOBODY && version != 0 && sver == version -> xbody = sbody; xres = SETTLED
	:: xi == NOBODY && version != 0 && sver != version -> known = 0; xres = LATER
	:: xi != NOBODY && right[xi] != NONE && fver[xi] == version -> xbody = fbody[xi]; xres = SETTLED
	:: xi != NOBODY && !(right[xi] != NONE && fver[xi] == version) && hver[xi] != 0 && hver[xi] == version ->
		xbody = hbody[xi]; xres = SETTLED
	:: else -> forget(xi); xres = LATER
	fi
}

/* What is served: never older than what was flushed, nor than what others saw with one module lost. */
inline served()
{
	assert(xbody >= acked);
	assert(xbody == cur || losses > 0);
	cur = xbody
}

inline grant_read(n)
{
	if
	:: owner != NOBODY && owner != n -> right[owner] = (right[owner] == WRITE -> READ : right[owner]); oright = (oright == WRITE -> READ : oright)
	:: else
	fi;
	right[n] = READ; fver[n] = version; fbody[n] = xbody;
	owned[n] = backup == n || owner == n || version == 0;
	if
	:: backup == n -> backup = NOBODY; bver = 0
	:: else
	fi;
	hver[n] = 0; hbody[n] = 0;
	if
	:: owner == NOBODY && (version == 0 || owned[n]) -> owner = n; oright = READ; fresh = version == 0
	:: owner == n -> oright = READ
	:: else -> copy[n] = 1; fresh = 0
	fi;
	seen = version
}

inline grant_write(n)
{
	xi = OTHER(n);
	if
	:: owner == xi || (right[xi] != NONE && fver[xi] == version && copy[xi] && !(known && stored == version)) ->
		if
		:: right[xi] != NONE -> hver[xi] = fver[xi]; hbody[xi] = fbody[xi]
		:: else
		fi;
		if
		:: hver[xi] != 0 && hver[xi] == version ->
			backup = xi; bver = version
		:: else
		fi
	:: else
	fi;
	right[xi] = NONE; fver[xi] = 0; fbody[xi] = 0; owned[xi] = 0; copy[xi] = 0; copy[n] = 0;
	if
	:: backup == n -> backup = NOBODY; bver = 0
	:: else
	fi;
	hver[n] = 0; hbody[n] = 0;
	if
	:: owner != n -> seen = (version != 0 -> version : seen); fresh = owner == NOBODY && version == 0
	:: else
	fi;
	tokens = tokens + 2; version = tokens;
	owner = n; oright = WRITE; ovoid = 0;
	bodies++; cur = bodies;
	right[n] = WRITE; fver[n] = version; fbody[n] = cur; owned[n] = 1
}

/* A thread of node n reads or writes. */
inline use(n, what)
{
	if
	:: right[n] >= what && what == WRITE -> bodies++; cur = bodies; fbody[n] = cur; saw[n] = cur
	:: right[n] >= what && what == READ -> saw[n] = fbody[n]
	:: right[n] < what ->
		settle();
		if
		:: xres == SETTLED -> fetch(n)
		:: else
		fi;
		if
		:: xres == LOOK_ -> look(); ops_left++
		:: xres == LATER -> ops_left++
		:: xres == LOST -> assert(losses > 0 && acked < cur)
		:: xres == SETTLED ->
			served();
			if
			:: what == READ -> grant_read(n)
			:: what == WRITE -> grant_write(n)
			fi;
			saw[n] = cur
		fi
	fi
}

proctype users()
{
end:	do
	:: atomic { ops_left > 0 && FREE_(0) ->
		ops_left--;
		if :: xn = 0 :: xn = 1 fi;
		if :: xw = READ :: xw = WRITE fi;
		use(xn, xw) }
	:: atomic { flushes_left > 0 && !flushing ->
		flushes_left--;
		if :: caller = 0 :: caller = 1 fi;
		cover = cur; mine = saw[caller];
		/* kh_flush_start(): what the home sees dirty, or granted and not yet heard of */
		if
		:: CLEAN ->
			cover = (losses == 0 -> cover : mine);
			assert(sbody >= cover || (version == 0 && !known));
			acked = (sbody >= cover && cover > acked -> cover : acked);
			cover = 0; mine = 0
		:: !CLEAN ->
			flushing = 1; need = number + 1
		fi }
	od
}

/* The holders' inventories: the highest version is the truth, OWNED before HANDOFF before READ. */
inline rebuild()
{
	owner = NOBODY; oright = NONE; version = 0; backup = NOBODY; bver = 0;
	for (xi : 0 .. 1) {
		copy[xi] = 0;
		if
		:: right[xi] != NONE && (fver[xi] > version || (fver[xi] == version && owned[xi])) ->
			owner = xi; oright = right[xi]; version = fver[xi]; unsure = !owned[xi]
		:: else
		fi
	}
	for (xi : 0 .. 1) {
		if
		:: hver[xi] > version -> owner = xi; oright = NONE; version = hver[xi]; unsure = 1
		:: else
		fi
	}
	for (xi : 0 .. 1) {
		if
		:: right[xi] != NONE && xi != owner && fver[xi] == version -> copy[xi] = 1
		:: right[xi] != NONE && xi != owner && fver[xi] != version -> right[xi] = NONE; fver[xi] = 0; fbody[xi] = 0; owned[xi] = 0
		:: else
		fi;
		if
		:: hver[xi] != 0 && xi != owner -> backup = xi; bver = hver[xi]
		:: else
		fi
	}
	seen = version
}

inline clear_home()
{
	do :: tohome?xm,xt,xv,xe :: len(tohome) == 0 -> break od;
	do :: tolook?xt,xe,xb :: len(tolook) == 0 -> break od
}

inline kill(n)
{
	right[n] = NONE; fver[n] = 0; fbody[n] = 0; hver[n] = 0; hbody[n] = 0; owned[n] = 0;
	copy[n] = 0; saw[n] = 0;
	mine = (caller == n -> 0 : mine);
	if
	:: n == 0 ->
		do :: toholder0?xm,xt,xv :: len(toholder0) == 0 -> break od;
		do :: toplace0?xt,xv,xb :: len(toplace0) == 0 -> break od
	:: n == 1 ->
		do :: toholder1?xm,xt,xv :: len(toholder1) == 0 -> break od;
		do :: toplace1?xt,xv,xb :: len(toplace1) == 0 -> break od
	fi;
	if
	:: backup == n -> backup = NOBODY; bver = 0
	:: else
	fi;
	if
	:: owner == n -> ovoid = 1
	:: else
	fi;
	if
	:: storing == ASKED && source == n -> storing = AGAIN
	:: else
	fi
}

proctype faults()
{
end:	do
	:: atomic { restarts_left > 0 ->
		restarts_left--;
		clear_home();
		do :: toholder0?xm,xt,xv :: len(toholder0) == 0 -> break od;
		do :: toholder1?xm,xt,xv :: len(toholder1) == 0 -> break od;
		looked = 0;
		tokens = tokens + 2; epoch = tokens; floor[0] = epoch; floor[1] = epoch;
		stored = 0; known = 0; unsure = 0; flushout = 0; ovoid = 0; fresh = 0; storing = NOT;
#ifdef PLANT_NO_LOOK
		known = 1;
#endif
		stok = 0; ltok = 0; number = 0; safe = 0; need = 1; source = 0;
		rebuild();
		/* Until the place was asked a flush is wanted (the module sends its call again). */
		xi = 0 }
	:: atomic { crashes_left > 0 ->
		crashes_left--;
		do
		:: writing?xt,xv,xb -> if :: write_down() :: true fi
		:: len(writing) == 0 -> break
		od;
		clear_home();
		do :: toplace0?xt,xv,xb :: len(toplace0) == 0 -> break od;
		do :: toplace1?xt,xv,xb :: len(toplace1) == 0 -> break od;
		stray_tok = 0; stray_ver = 0; stray_body = 0;
		fence = 0; looked = 0;
		if
		:: storing != NOT -> storing = AGAIN
		:: else
		fi }
	:: atomic { kills_left > 0 -> kills_left--; losses++; if :: kill(0) :: kill(1) fi }
	:: atomic { losses_left > 0 && len(toholder0) != 0 -> losses_left--; toholder0?xm,xt,xv }
	:: atomic { losses_left > 0 && len(toholder1) != 0 -> losses_left--; toholder1?xm,xt,xv }
	:: atomic { losses_left > 0 && len(toplace0) != 0 -> losses_left--; toplace0?xt,xv,xb }
	:: atomic { losses_left > 0 && len(toplace1) != 0 -> losses_left--; toplace1?xt,xv,xb }
	:: atomic { losses_left > 0 && len(tolook) != 0 -> losses_left--; tolook?xt,xe,xb }
	:: atomic { losses_left > 0 && len(tohome) != 0 -> losses_left--; tohome?xm,xt,xv,xe }
	:: atomic { strays_left > 0 && len(toplace0) != 0 -> strays_left--; toplace0?<xt,xv,xb>;
		stray_tok = xt; stray_ver = xv; stray_body = xb; xt = 0; xv = 0; xb = 0 }
	od
}

/* The last copy is never evicted, what is stored never goes back; all is answered at rest. */
proctype observer()
{
end:	do
	:: atomic { sbody < acked -> assert(false) }
	:: atomic { losses == 0 && cur != 0 && sbody != cur && fbody[0] != cur && fbody[1] != cur &&
		hbody[0] != cur && hbody[1] != cur -> assert(false) }
	:: atomic { timeout ->
		assert(!flushing && storing == NOT && ops_left == 0);
		assert(QUIET);
		break }
	od
}

init
{
	atomic { run home(); run timer(); run holder(); run place(); run users(); run faults(); run observer() }
}
