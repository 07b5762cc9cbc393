/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crew, the strict write-invalidate protocol, as Documentation/protocol.rst states it
 * (its rule numbers are cited). NN nodes, node 0 is the home and a holder as well.
 * Every event of a node, its effects included, is one step. See README.rst.
 */
#ifndef NN
#define NN 3
#endif
#ifndef NU
#define NU 1
#endif
#ifndef REQS
#define REQS 4		/* requests of all nodes together */
#endif
#ifndef DROPS
#define DROPS 1		/* connection losses, each with a reconnection */
#endif
#ifndef DUPS
#define DUPS 0		/* messages delivered a second time, some time later */
#endif
#ifndef RESTARTS
#define RESTARTS 0	/* restarts of the home's khd */
#endif
#ifndef CRASHES
#define CRASHES 0	/* restarts of the khd of a node that is not the home */
#endif
#ifndef KILLS
#define KILLS 0		/* threads killed while they wait */
#endif
#ifndef EVICTS
#define EVICTS 1	/* READ copies are evicted at any time */
#endif
#ifndef RANGES
#define RANGES 0	/* explicit locks of both units (NU is 2 then) */
#endif
#ifndef TICKS
#define TICKS 0		/* ticks of the lease clock; 0: leases never end */
#endif
#ifndef LEASED
#define LEASED 2	/* set of the nodes whose lease may end */
#endif
#ifdef PLANT_RENEW_ALWAYS
#define RENEWAL_DUE(n)	true
#else
#define RENEWAL_DUE(n)	(tleft[n] < LEASE)
#endif
#define LEASE 2		/* ticks, at the node; the home counts one more */
#ifndef QL
#define QL 11		/* longest connection seen; a longer one is an error of the search */
#endif

#define HOME	0
#define NOBODY	NN
#define ALL	((1 << NN) - 1)
#define NOVER	255
#define EPOCH	16	/* a token is epoch * EPOCH + counter */

#define NONE	0
#define READ	1
#define WRITE	2

#define DATA_	0	/* data sources of a GRANT */
#define HELD	1
#define ZERO	2
#define COPIES	3	/* READ copies have to become HANDOFF frames first */
#define LOST_	4

#ifdef PLANT_RANGE_ORDER	/* one node takes the units the wrong way round */
#define RANGE_UNIT(n)	((n) == 1 -> 2 - range[n] : range[n] - 1)
#define RANGE_STEP(n, u) ((n) == 1 -> 2 - (u) : (u) + 1)
#else
#define RANGE_UNIT(n)	(range[n] - 1)
#define RANGE_STEP(n, u) ((u) + 1)
#endif

#if RANGES
#define NOTLOCKED(u, n)	!(locked[I(u,n)] && FRESH(u, n))
#else
#define NOTLOCKED(u, n)	true
#endif

#define DEFERRED 2	/* an IACK's status: explicitly locked, the real answer will follow */
#define KEPT	1	/* an IACK's status: a HANDOFF frame exists */

#define ABORTED	1	/* a DONE's flag: the grant was not taken */

#define RETRY	0	/* errors of a NACK */
#define LOST	1

#define I(u, n)		((u) * NN + (n))
#define Q(f, t)		q[(f) * NN + (t)]
#define BIT(n)		(1 << (n))
#define PRESENT(i)	(right[i] != NONE || owned[i])
#define NEWEST(u)	(epoch * EPOCH + counter[u])
#define VALID(n)	((n) != NOBODY && !isvoid[n])

#ifdef PLANT_IGNORE_EPOCH
#define CURRENT		true
#else
#define CURRENT		(xy == epoch)
#endif
#ifdef PLANT_STALE_TOKEN
#define FRESH(u, n)	true
#else
#define FRESH(u, n)	(xt >= low[I(u,n)])
#endif

mtype = { REQ, GRANT, FORWARD, DATA, INV, IACK, DONE, HDONE, EVICT, HASK, SYNC, NACK,
	RENEW, RACK, INVENT, VERDICT };

/*
 * kind, unit, then: REQ held request attempt want epoch   GRANT   token request attempt right+4*source need
 *                   DATA version request attempt body -   FORWARD token request attempt asker right
 *                   INV token - - keep -                  IACK    token - - kept -
 *                   DONE token request - - -              HDONE, EVICT, HASK token
 *                   NACK - request attempt error -        RENEW -, RACK - - - valid -, SYNC -
 *                   INVENT token version htoken hversion flags    VERDICT token - - resume -
 */
chan q[NN * NN] = [QL] of { mtype, byte, byte, byte, byte, byte, byte };

#if DUPS
/* The copy of a message that was delivered once and will be again, some time later. */
chan stray = [1] of { mtype, byte, byte, byte, byte, byte, byte };
byte stray_from, stray_to;
#endif

/* The holders: what the module keeps, ... */
byte right[NU * NN];
bit owned[NU * NN];
byte tok[NU * NN], ver[NU * NN], body[NU * NN], low[NU * NN] = EPOCH;
bit hand[NU * NN];			/* a frame in HANDOFF */
byte htok[NU * NN], hver[NU * NN], hbody[NU * NN];
bit dirty[NU * NN];			/* EXPIRED_DIRTY: WRITE until the lease ended */
bit expired[NN];			/* the lease is over, the module has emptied the address spaces */
byte want[NU * NN];			/* threads wait for this right */
#ifdef PLANT_LATE_ACK
byte late[NU * NN];			/* the INV that the node has not answered yet */
#endif
/* ... and their khd. */
#if RANGES
byte range[NN];				/* 1, 2: waits for this unit, counted from 1; 3: holds both */
bit locked[NU * NN];
mtype deferred[NU * NN];		/* the INV or FORWARD that waits for the unlock */
byte ft[NU * NN], fr[NU * NN], fa[NU * NN], fx[NU * NN], fy[NU * NN];
#endif
#if CRASHES
bit fresh[NN];				/* a new khd that the home has not heard of */
#endif
byte req[NU * NN], att[NU * NN];
bit gotg[NU * NN], gotd[NU * NN];
byte gtok[NU * NN], gkind[NU * NN], gneed[NU * NN], dver[NU * NN], dbody[NU * NN];
byte lreq[NU * NN], ltok[NU * NN];	/* the last request completed, for repeated DONEs */

byte tleft[NN] = LEASE, age[NN];		/* ticks left; ticks + 1 since RENEW or INVENT was sent */

/* The home. */
byte epoch = 1, counter[NU];
byte owner[NU] = NOBODY, version[NU], copies[NU], backup[NU] = NOBODY;
byte bver[NU];				/* of the backup */
bit virgin[NU];				/* nobody but the owner has seen the unit */
bit orphan[NU];				/* the owner has come back and had to drop it */
byte listed[NU];			/* highest token in the inventories of a restart */
bit isvoid[NN];				/* the lease is over: nothing the directory says of the node is true */
byte hleft[NN] = LEASE + 1;
byte granted[NU * NN], last[NU * NN];	/* per party: token of the last right, last request done */
bit busy[NU];
byte bp[NU], br[NU], ba[NU], bright[NU], bheld[NU], bfrom[NU] = NOBODY, btok[NU], bneed[NU], bwait[NU], bkeep[NU];
bit bsent[NU];				/* the GRANT has tleft */
byte bsrc[NU];
bit bown[NU];				/* the asker of a READ will be the owner */
chan fifo[NU] = [NN] of { byte };
byte wreq[NU * NN], watt[NU * NN], wright[NU * NN], wheld[NU * NN];
bit down[NN * NN];			/* down[f * NN + t]: f has no connection to t yet */
byte recovering;			/* nodes whose inventory is still missing */

/* The observer: how many writes there were, and faults and requests left. */
byte writes[NU], cur[NU];		/* cur: content that a load has to see */
byte seen[NU];				/* newest content that another node than its writer saw */
byte losses;				/* leases that ended */
bit evicted;
byte ticks_left = TICKS, crashes_left = CRASHES, kills_left = KILLS, ranges_left = RANGES;
byte reqs_left = REQS, drops_left = DROPS, dups_left = DUPS, restarts_left = RESTARTS;

hidden byte k, xt, xq, xa, xx, xy, n_, j_, best, old, src, need;

/* What a node sends before its end of the connection is up is lost. */
inline snd(f_, t_, m_, u_, a1, a2, a3, a4, a5)
{
	if
	:: !down[(f_) * NN + (t_)] -> Q(f_, t_)!m_,u_,a1,a2,a3,a4,a5
	:: else
	fi
}

/* --- holder ----------------------------------------------------------------- */

inline forget_answers(i)
{
	gotg[i] = 0; gtok[i] = 0; gkind[i] = 0; gneed[i] = 0;
	gotd[i] = 0; dver[i] = 0; dbody[i] = 0
}

inline ask(u, n)
{
	forget_answers(I(u,n));
	att[I(u,n)]++;
	if
	:: expired[n]
	:: !expired[n] && PRESENT(I(u,n)) ->
		snd(n, HOME, REQ,u,ver[I(u,n)],req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	:: !expired[n] && !PRESENT(I(u,n)) && hand[I(u,n)] ->
		snd(n, HOME, REQ,u,hver[I(u,n)],req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	:: else -> snd(n, HOME, REQ,u,NOVER,req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	fi
}

inline forget_hand(i)
{
	hand[i] = 0; htok[i] = 0; hver[i] = 0; hbody[i] = 0
}

inline drop_copy(i)
{
	right[i] = NONE; owned[i] = 0; dirty[i] = 0; tok[i] = 0; ver[i] = 0; body[i] = 0
}

/* R5: the current frame becomes the one kept in HANDOFF. */
inline hand_off(i, t)
{
#ifdef PLANT_FORGET_HANDOFF
	skip;
#else
	hand[i] = 1; htok[i] = t; hver[i] = ver[i]; hbody[i] = body[i];
#endif
	drop_copy(i)
}

/* R2: both halves of the current attempt are there. */
inline complete(u, n)
{
	if
	:: want[I(u,n)] != NONE && gotg[I(u,n)] && gtok[I(u,n)] < low[I(u,n)] ->
		ask(u, n)
	:: want[I(u,n)] != NONE && gotg[I(u,n)] && gtok[I(u,n)] >= low[I(u,n)] &&
	   (gkind[I(u,n)] % 4 != DATA_ || (gotd[I(u,n)] && dver[I(u,n)] == gneed[I(u,n)])) ->
		if
		:: gkind[I(u,n)] % 4 == HELD && PRESENT(I(u,n)) ->
			assert(ver[I(u,n)] == gneed[I(u,n)])
		:: gkind[I(u,n)] % 4 == HELD && !PRESENT(I(u,n)) ->
			assert(hand[I(u,n)] && hver[I(u,n)] == gneed[I(u,n)]);
			ver[I(u,n)] = hver[I(u,n)]; body[I(u,n)] = hbody[I(u,n)];
			owned[I(u,n)] = 1
		:: gkind[I(u,n)] % 4 == ZERO ->
			ver[I(u,n)] = 0; body[I(u,n)] = 0; owned[I(u,n)] = 1
		:: else ->
			ver[I(u,n)] = dver[I(u,n)]; body[I(u,n)] = dbody[I(u,n)]
		fi;
		forget_hand(I(u,n));
		owned[I(u,n)] = owned[I(u,n)] || gkind[I(u,n)] >= 4;
		if
		:: body[I(u,n)] != cur[u] ->
			/* R14: the newest writes may be lost with their writer, if nobody saw them */
			assert(losses > 0 && (body[I(u,n)] >= seen[u] || losses > 1 || evicted));
			cur[u] = body[I(u,n)];
			seen[u] = 0
		:: else
		fi;
		if
		:: !owned[I(u,n)] || want[I(u,n)] == READ -> seen[u] = cur[u]
		:: else
		fi;
		right[I(u,n)] = want[I(u,n)]; tok[I(u,n)] = gtok[I(u,n)]; low[I(u,n)] = gtok[I(u,n)];
		if
		:: want[I(u,n)] == WRITE ->
			owned[I(u,n)] = 1; ver[I(u,n)] = gtok[I(u,n)];
			writes[u]++; body[I(u,n)] = writes[u]; cur[u] = writes[u]
		:: else
		fi;
#if RANGES
		if
		:: range[n] == RANGE_STEP(n, u) && want[I(u,n)] == WRITE -> locked[I(u,n)] = 1; range[n]++
		:: else
		fi;
#endif
		lreq[I(u,n)] = req[I(u,n)]; ltok[I(u,n)] = gtok[I(u,n)];
		want[I(u,n)] = NONE; att[I(u,n)] = 0;
		forget_answers(I(u,n));
		snd(n, HOME, DONE,u,ltok[I(u,n)],lreq[I(u,n)],0,0,0);
#ifdef PLANT_LATE_ACK
		if
		:: late[I(u,n)] != 0 -> snd(n, HOME, IACK,u,late[I(u,n)],0,0,0,0); late[I(u,n)] = 0
		:: else
		fi
#endif
	:: else
	fi
}

inline on_grant(u, n)
{
	if
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] && FRESH(u, n) && !expired[n] ->
		gotg[I(u,n)] = 1; gtok[I(u,n)] = xt; gkind[I(u,n)] = xx / 4; gneed[I(u,n)] = xy;
		complete(u, n)
	:: else ->
		if	/* R8: one that was completed already */
		:: xq == lreq[I(u,n)] && xt == ltok[I(u,n)] -> snd(n, HOME, DONE,u,xt,xq,0,0,0)
		:: want[I(u,n)] != NONE && xq == req[I(u,n)]
		:: else -> snd(n, HOME, DONE,u,xt,xq,0,ABORTED,0)
		fi
	fi
}

inline give_up(u, n)
{
	if
	:: gotg[I(u,n)] -> snd(n, HOME, DONE,u,gtok[I(u,n)],req[I(u,n)],0,ABORTED,0)
	:: else
	fi;
	want[I(u,n)] = NONE; att[I(u,n)] = 0;
	forget_answers(I(u,n))
}

inline on_data(u, n)
{
	if
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] && !expired[n] ->
		gotd[I(u,n)] = 1; dver[I(u,n)] = xt; dbody[I(u,n)] = xx;
		complete(u, n)
	:: else
	fi
}

inline on_forward(u, n)
{
	if
	:: !FRESH(u, n)
	:: FRESH(u, n) && PRESENT(I(u,n)) ->
		low[I(u,n)] = xt;
		snd(n, xx, DATA,u,ver[I(u,n)],xq,xa,body[I(u,n)],0);
		if
		:: xy == WRITE -> hand_off(I(u,n), xt)
		:: xy == READ && right[I(u,n)] == WRITE -> right[I(u,n)] = READ
		:: else -> dirty[I(u,n)] = 0
		fi
	:: FRESH(u, n) && !PRESENT(I(u,n)) && hand[I(u,n)] ->
		low[I(u,n)] = xt; htok[I(u,n)] = xt;
		snd(n, xx, DATA,u,hver[I(u,n)],xq,xa,hbody[I(u,n)],0)
	:: else
	fi
}

inline on_inv(u, n, f)
{
	if
#ifdef PLANT_LATE_ACK
	:: FRESH(u, n) && want[I(u,n)] != NONE -> late[I(u,n)] = xt
#endif
	:: !FRESH(u, n)
	:: else ->
		low[I(u,n)] = xt;
		if
		:: PRESENT(I(u,n)) && tok[I(u,n)] < xt ->
			if
			:: owned[I(u,n)] || xx -> hand_off(I(u,n), xt)
			:: else -> drop_copy(I(u,n))
			fi
		:: hand[I(u,n)] && !PRESENT(I(u,n)) -> htok[I(u,n)] = xt
		:: else
		fi
	fi;
#ifdef PLANT_LATE_ACK
	if
	:: late[I(u,n)] != 0
	:: late[I(u,n)] == 0 -> snd(n, f, IACK,u,xt,0,0,hand[I(u,n)],0)
	fi
#else
	snd(n, f, IACK,u,xt,0,0,hand[I(u,n)],0)
#endif
}

inline on_hdone(u, n)
{
	if
	:: hand[I(u,n)] && htok[I(u,n)] <= xt -> forget_hand(I(u,n))
	:: else
	fi
}

inline on_nack(u, n)
{
	if
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] && xx == RETRY -> ask(u, n)
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] && xx == LOST ->
		want[I(u,n)] = NONE; att[I(u,n)] = 0;		/* the waiters get EIO */
		forget_answers(I(u,n))
	:: else
	fi
}

/* --- home ------------------------------------------------------------------- */

inline hdone(u, n)
{
	snd(HOME, n, HDONE,u,NEWEST(u),0,0,0,0)
}

inline forward(u)
{
	snd(HOME, bfrom[u], FORWARD,u,btok[u],br[u],ba[u],bp[u],bright[u])
}

inline send_inv(u, n)
{
	snd(HOME, n, INV,u,btok[u],0,0,((bkeep[u] & BIT(n)) != 0),0)
}

inline send_invs(u)
{
	for (j_ : 0 .. NN - 1) {
		if
		:: bwait[u] & BIT(j_) -> send_inv(u, j_)
		:: else
		fi
	}
}

inline rest(u)
{
	busy[u] = 0; bp[u] = 0; br[u] = 0; ba[u] = 0; bright[u] = 0; bheld[u] = 0; btok[u] = 0;
	bwait[u] = 0; bkeep[u] = 0; bsent[u] = 0; bfrom[u] = NOBODY; bown[u] = 0; bneed[u] = 0; bsrc[u] = 0
}

/* Where the data of the busy request is: src, bfrom, need. R3, R14. */
inline choose(u)
{
	bfrom[u] = NOBODY; bown[u] = 0; need = version[u]; src = DATA_;
	if
	:: bheld[u] == version[u] && (owner[u] == bp[u] || copies[u] & BIT(bp[u])) -> src = HELD
	:: owner[u] == NOBODY -> src = ZERO
	:: VALID(owner[u]) && !orphan[u] -> bfrom[u] = owner[u]
	:: else ->
		bown[u] = 1;
		if
		:: copies[u] & (ALL - BIT(bp[u])) -> src = COPIES
		:: !(copies[u] & (ALL - BIT(bp[u]))) && backup[u] == bp[u] && bheld[u] == bver[u] -> src = HELD; need = bver[u]
		:: !(copies[u] & (ALL - BIT(bp[u]))) && backup[u] != NOBODY && backup[u] != bp[u] ->
			bfrom[u] = backup[u]; need = bver[u]
		:: !(copies[u] & (ALL - BIT(bp[u]))) && backup[u] == NOBODY && virgin[u] -> src = ZERO; need = 0
		:: else -> src = LOST_
		fi
	fi
}

inline grant(u)
{
	choose(u);
	assert(bfrom[u] != bp[u]);
	if
	:: src == COPIES ->
		bsent[u] = 0; bown[u] = 0;
		bwait[u] = copies[u] & (ALL - BIT(bp[u])); bkeep[u] = bwait[u];
		send_invs(u)
	:: src == LOST_ ->
		snd(HOME, bp[u], NACK,u,0,br[u],ba[u],LOST,0);
		rest(u)
	:: else ->
		bsent[u] = 1; bneed[u] = need; bsrc[u] = src;
		snd(HOME, bp[u], GRANT,u,btok[u],br[u],ba[u],bright[u] + 4 * src + 16 * bown[u],need);
		if
		:: src == DATA_ -> forward(u)
		:: else
		fi
	fi
}

/* All INVs are answered. */
inline proceed(u)
{
	if
	:: bwait[u] == 0 && bp[u] == NOBODY -> rest(u)		/* the request was cancelled */
	:: bwait[u] == 0 && bp[u] != NOBODY -> grant(u)
	:: else
	fi
}

inline serve(u)
{
	fifo[u]?n_;
	busy[u] = 1; bp[u] = n_;
	br[u] = wreq[I(u,n_)]; ba[u] = watt[I(u,n_)]; bright[u] = wright[I(u,n_)]; bheld[u] = wheld[I(u,n_)];
	wreq[I(u,n_)] = 0; watt[I(u,n_)] = 0; wright[I(u,n_)] = 0; wheld[I(u,n_)] = 0;
	counter[u]++; assert(counter[u] < EPOCH);
	btok[u] = NEWEST(u);
	if
	:: bright[u] == WRITE && owner[u] != NOBODY ->
		bwait[u] = copies[u] & (ALL - BIT(n_));
		if		/* R11 */
		:: backup[u] != NOBODY && bver[u] == version[u]
		:: else -> bkeep[u] = bwait[u]
		fi;
		if		/* R3 */
		:: VALID(owner[u]) && !orphan[u] && owner[u] != n_ && bheld[u] == version[u] && (copies[u] & BIT(n_)) ->
			bwait[u] = bwait[u] | BIT(owner[u])
		:: else
		fi;
#ifdef PLANT_SKIP_INV
		bwait[u] = bwait[u] & (ALL - BIT(2));
#endif
		send_invs(u)
	:: else
	fi;
	proceed(u)
}

/* Called after every event at the home. */
inline settle(u)
{
	do
	:: !busy[u] && !recovering && len(fifo[u]) > 0 -> serve(u)
	:: else -> break
	od
}

inline on_req(u, p)
{
	if
	:: xq <= last[I(u,p)] || !CURRENT || isvoid[p]
	:: xq > last[I(u,p)] && CURRENT && !isvoid[p] && busy[u] && bp[u] == p && br[u] == xq ->
		if
		:: xa > ba[u] ->
			ba[u] = xa; bheld[u] = xt;
			if
			:: bwait[u] == 0 -> grant(u)
			:: else
			fi
		:: else
		fi
	:: xq > last[I(u,p)] && CURRENT && !isvoid[p] && !(busy[u] && bp[u] == p && br[u] == xq) &&
	   (xq > wreq[I(u,p)] || (xq == wreq[I(u,p)] && xa > watt[I(u,p)])) ->
		if
		:: wright[I(u,p)] == NONE -> fifo[u]!p
		:: else
		fi;
		wreq[I(u,p)] = xq; watt[I(u,p)] = xa; wright[I(u,p)] = xx; wheld[I(u,p)] = xt
	:: else
	fi
}

/* The source has changed: one attempt never gets two different GRANTs. */
inline retry(u)
{
	snd(HOME, bp[u], NACK,u,0,br[u],ba[u],RETRY,0)
}

inline new_backup(u, p, v)
{
	if
	:: backup[u] != NOBODY && backup[u] != p -> hdone(u, backup[u])
	:: else
	fi;
	backup[u] = p; bver[u] = v
}

inline on_iack(u, p)
{
	if
	:: busy[u] && xt == btok[u] && (bwait[u] & BIT(p)) && xx != DEFERRED ->
		bwait[u] = bwait[u] & (ALL - BIT(p));
		copies[u] = copies[u] & (ALL - BIT(p));
		if
		:: (bkeep[u] & BIT(p)) && xx == KEPT -> new_backup(u, p, version[u])
		:: else
		fi;
		proceed(u)
	:: else
	fi
}

/* The requests of a node that waits no more. */
inline unqueue(u, n)
{
	old = len(fifo[u]);
	do
	:: old > 0 ->
		old--;
		fifo[u]?j_;
		if
		:: j_ != n -> fifo[u]!j_
		:: else -> wreq[I(u,n)] = 0; watt[I(u,n)] = 0; wright[I(u,n)] = 0; wheld[I(u,n)] = 0
		fi
	:: old == 0 -> break
	od
}

/* R14, R16: outstanding INVs must still be answered, else a KEPT frame is forgotten. */
inline cancel(u)
{
	if
	:: bwait[u] == 0 -> rest(u)
	:: else -> bp[u] = NOBODY
	fi
}

/* The asker has what it was granted (R6, R11). */
inline commit(u, p)
{
	granted[I(u,p)] = btok[u];
	last[I(u,p)] = br[u];
	if
	:: backup[u] == p -> backup[u] = NOBODY; bver[u] = 0	/* R5: the grant ended its HANDOFF */
	:: else
	fi;
	old = owner[u];
	virgin[u] = (old == NOBODY) || (virgin[u] && old == p) || (bown[u] && bneed[u] == 0 && virgin[u] && bfrom[u] == NOBODY);
	if
	:: bright[u] == READ && (old == NOBODY || bown[u]) -> owner[u] = p; orphan[u] = 0; version[u] = bneed[u]; copies[u] = copies[u] & (ALL - BIT(p))
	:: bright[u] == READ && old != NOBODY && !bown[u] && old != p -> copies[u] = copies[u] | BIT(p)
	:: bright[u] == READ && old == p && !bown[u]
	:: else ->
		if
		:: VALID(old) && !orphan[u] && old != p -> new_backup(u, old, version[u])
		:: else
		fi;
		owner[u] = p; orphan[u] = 0; version[u] = btok[u]; copies[u] = 0
	fi;
	rest(u)
}

inline on_done(u, p)
{
	if
	:: busy[u] && bp[u] == p && br[u] == xq && btok[u] == xt && xx != ABORTED -> commit(u, p)
	:: busy[u] && bp[u] == p && br[u] == xq && btok[u] == xt && xx == ABORTED -> cancel(u)
	:: else
	fi
}

inline on_evict(u, p)
{
	if
	:: xt == granted[I(u,p)] && !(busy[u] && bp[u] == p) -> copies[u] = copies[u] & (ALL - BIT(p))
	:: else
	fi
}

inline on_hask(u, p)
{
	if
#ifdef PLANT_EARLY_HDONE
	:: true -> hdone(u, p)
#endif
	:: !recovering && !isvoid[p] && owner[u] != p && backup[u] != p && !(bwait[u] & BIT(p)) -> hdone(u, p)
	:: else
	fi
}

/* R10 */
inline rebuild(u)
{
	best = NOBODY;
	version[u] = 0;
	for (j_ : 0 .. NN - 1) {
		granted[I(u,j_)] = tok[I(u,j_)];
		if
		:: !isvoid[j_] && tok[I(u,j_)] > listed[u] -> listed[u] = tok[I(u,j_)]
		:: else
		fi;
		if
		:: !isvoid[j_] && hand[I(u,j_)] && htok[I(u,j_)] > listed[u] -> listed[u] = htok[I(u,j_)]
		:: else
		fi;
		if
		:: !isvoid[j_] && PRESENT(I(u,j_)) && ver[I(u,j_)] > version[u] -> version[u] = ver[I(u,j_)]
		:: else
		fi;
		if
		:: !isvoid[j_] && hand[I(u,j_)] && hver[I(u,j_)] > version[u] -> version[u] = hver[I(u,j_)]
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: !isvoid[j_] && PRESENT(I(u,j_)) && owned[I(u,j_)] && ver[I(u,j_)] == version[u] -> owner[u] = j_
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: owner[u] == NOBODY && !isvoid[j_] && hand[I(u,j_)] && hver[I(u,j_)] == version[u] -> owner[u] = j_
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: !isvoid[j_] && j_ != owner[u] && PRESENT(I(u,j_)) && ver[I(u,j_)] == version[u] ->
			copies[u] = copies[u] | BIT(j_)
		:: !isvoid[j_] && j_ != owner[u] && PRESENT(I(u,j_)) && ver[I(u,j_)] != version[u] -> assert(false)
		:: else
		fi;
		if
		:: !isvoid[j_] && j_ != owner[u] && hand[I(u,j_)] && (best == NOBODY || hver[I(u,j_)] > hver[I(u,best)]) -> best = j_
		:: else
		fi
	}
	if	/* R17: only READ copies answered, so the owner is a silent node */
	:: owner[u] == NOBODY && copies[u] != 0 ->
		for (j_ : 0 .. NN - 1) {
			if
			:: isvoid[j_] -> owner[u] = j_
			:: else
			fi
		}
		assert(owner[u] != NOBODY)
	:: else
	fi;
	backup[u] = best;
	if
	:: best != NOBODY -> bver[u] = hver[I(u,best)]
	:: else
	fi;
	for (j_ : 0 .. NN - 1) {
		if
		:: !isvoid[j_] && hand[I(u,j_)] && j_ != owner[u] && j_ != backup[u] -> hdone(u, j_)
		:: else
		fi
	}
	best = 0;
	settle(u)
}

/* --- failures --------------------------------------------------------------- */

inline clear(f, t)
{
	do
	:: nempty(Q(f,t)) -> Q(f,t)?k,xx,xx,xx,xx,xx,xx
	:: empty(Q(f,t)) -> break
	od
}

inline repeat_done(u, n)
{
	if
	:: lreq[I(u,n)] -> snd(n, HOME, DONE,u,ltok[I(u,n)],lreq[I(u,n)],0,0,0)
	:: else
	fi;
	if
	:: hand[I(u,n)] -> snd(n, HOME, HASK,u,htok[I(u,n)],0,0,0,0)
	:: else
	fi
}

inline ask_again(u, n)
{
	if
	:: want[I(u,n)] != NONE -> ask(u, n)
	:: else
	fi
}

inline lose(a, b)
{
	clear(a, b); clear(b, a);
	down[a * NN + b] = 1; down[b * NN + a] = 1
}

/* R15, R16: the inventory, one unit of it; flags: present, HANDOFF, only a READ copy, new incarnation. */
inline send_inventory(u, n, new)
{
	snd(n, HOME, INVENT,u,tok[I(u,n)],ver[I(u,n)],htok[I(u,n)],hver[I(u,n)],
	    PRESENT(I(u,n)) + 2 * hand[I(u,n)] + 4 * (PRESENT(I(u,n)) && !owned[I(u,n)]) + 8 * new)
}

/* R8: SYNC is the first message of a new connection; it starts all repairs. */
inline on_sync(u, n, peer)
{
	if
	:: peer == HOME -> age[n] = 0
	:: else
	fi;
	if
	:: peer == HOME -> repeat_done(u, n)
	:: else
	fi;
	if
	:: n == HOME && busy[u] && (bwait[u] & BIT(peer)) -> send_inv(u, peer)
	:: else
	fi;
	if
	:: n == HOME && busy[u] && bsent[u] && bfrom[u] == peer -> forward(u)
	:: else
	fi;
	if	/* the asker may have given up: it will say so */
	:: n == HOME && busy[u] && bsent[u] && bp[u] == peer ->
		snd(HOME, peer, GRANT,u,btok[u],br[u],ba[u],bright[u] + 4 * bsrc[u] + 16 * bown[u],bneed[u])
	:: else
	fi;
	ask_again(u, n)
}

inline came_up(from, to)
{
	down[from * NN + to] = 0;
	for (best : 0 .. NU - 1) {
#if CRASHES
		if
		:: to == HOME && fresh[from] -> send_inventory(best, from, 1)
		:: else
		fi;
#endif
		snd(from, to, SYNC,best,0,0,0,0,0);
#ifdef PLANT_REPAIR_EARLY
		on_sync(best, from, to);
#endif
	}
#if CRASHES
	if
	:: to == HOME -> fresh[from] = 0
	:: else
	fi;
#endif
	best = 0
}

/* R10: the home's khd dies; modules keep what they have. */
inline restart()
{
	for (best : 0 .. NN - 1) {
		clear(HOME, best);
		clear(best, HOME);
		down[HOME * NN + best] = 0;
		down[best * NN + HOME] = 1
	}
	epoch++;
	for (best : 0 .. NU - 1) {
		counter[best] = 0; owner[best] = NOBODY; version[best] = 0; copies[best] = 0; backup[best] = NOBODY; bver[best] = 0;
		virgin[best] = 0; orphan[best] = 0; listed[best] = 0;
		rest(best);
		do
		:: nempty(fifo[best]) -> fifo[best]?j_
		:: empty(fifo[best]) -> break
		od;
		for (j_ : 0 .. NN - 1) {
			granted[I(best,j_)] = 0; last[I(best,j_)] = 0;
			wreq[I(best,j_)] = 0; watt[I(best,j_)] = 0; wright[I(best,j_)] = 0; wheld[I(best,j_)] = 0
		}
		lreq[I(best,HOME)] = 0; ltok[I(best,HOME)] = 0
	}
	recovering = ALL;
	for (best : 0 .. NN - 1) {
		hleft[best] = LEASE + 1; isvoid[best] = 0; age[best] = 0
	}
	best = 0
}

inline answered(n)
{
	recovering = recovering & (ALL - BIT(n));
	down[n * NN + HOME] = 0;
	if
	:: recovering == 0 ->
		for (old : 0 .. NU - 1) {
			rebuild(old)
		}
		old = 0
	:: else
	fi
}

inline new_epoch(n)
{
	for (best : 0 .. NU - 1) {
#ifdef PLANT_IGNORE_EPOCH
		skip;
#else
		low[I(best,n)] = epoch * EPOCH;
#endif
		lreq[I(best,n)] = 0; ltok[I(best,n)] = 0
	}
	best = 0
}

inline inventory(n)
{
	new_epoch(n);
	down[n * NN + HOME] = 0;
	for (best : 0 .. NU - 1) {
		ask_again(best, n)
	}
	best = 0;
	answered(n)
}

#if CRASHES
/* R16: the khd of a node dies, its module keeps what it has. */
inline crash(n)
{
	for (best : 0 .. NN - 1) {
		if
		:: best != n -> lose(n, best)
		:: else
		fi
	}
	for (best : 0 .. NU - 1) {
		forget_answers(I(best,n));
		lreq[I(best,n)] = 0; ltok[I(best,n)] = 0;
		if
		:: want[I(best,n)] != NONE -> req[I(best,n)]++; att[I(best,n)] = 0
		:: else
		fi
	}
	fresh[n] = 1;
	best = 0
}

inline on_fresh(u, p)
{
	unqueue(u, p);
	if
	:: busy[u] && bp[u] == p && (xy & 1) && btok[u] == xt -> commit(u, p)
	:: busy[u] && bp[u] == p && !((xy & 1) && btok[u] == xt) -> cancel(u)
	:: else
	fi;
	copies[u] = copies[u] & (ALL - BIT(p));
	if	/* a READ that nobody heard of ended the HANDOFF, and was evicted */
	:: !(xy & 3) && backup[u] == p -> backup[u] = NOBODY; bver[u] = 0
	:: else
	fi;
	if
	:: (xy & 4) -> assert(owner[u] != p); copies[u] = copies[u] | BIT(p)
	:: else
	fi;
	if
	:: (xy & 2) && owner[u] != p && backup[u] != p && !(bwait[u] & BIT(p)) -> hdone(u, p)
	:: else
	fi
}
#endif

#if TICKS
/* --- leases ----------------------------------------------------------------- */

/* R13: the module empties the address spaces. */
inline expire(n)
{
	expired[n] = 1; losses++;
	for (best : 0 .. NU - 1) {
		forget_answers(I(best,n));
		if
		:: owned[I(best,n)] -> dirty[I(best,n)] = (right[I(best,n)] == WRITE); right[I(best,n)] = NONE
		:: else -> drop_copy(I(best,n))
		fi
	}
	best = 0
}

inline tick()
{
	ticks_left--;
	for (old : 0 .. NN - 1) {
		if
		:: (LEASED & BIT(old)) && tleft[old] > 0 ->
			tleft[old]--;
			if
			:: tleft[old] == 0 -> expire(old)
			:: else
			fi
		:: else
		fi;
		if
		:: (LEASED & BIT(old)) && hleft[old] > 0 -> hleft[old]--
		:: else
		fi;
		if
		:: age[old] > 0 -> age[old]++
		:: else
		fi
	}
	old = 0
}

inline renew(n)
{
	age[n] = 1;
	if
	:: expired[n] ->
		new_epoch(n);
		send_inventory(0, n, 0)
	:: else -> snd(n, HOME, RENEW,0,0,0,0,0,0)
	fi
}

inline on_renew(p)
{
	if
	:: isvoid[p] -> snd(HOME, p, RACK,0,0,0,0,0,0)
	:: else -> hleft[p] = LEASE + 1; snd(HOME, p, RACK,0,0,0,0,1,0)
	fi
}

inline on_rack(n)
{
	if
	:: xx && !expired[n] && age[n] > 0 && LEASE + 1 - age[n] > tleft[n] -> tleft[n] = LEASE + 1 - age[n]
	:: else
	fi;
	age[n] = 0
}

/* R14: the home's clock says that the node's module has emptied the address spaces. */
inline avoid(n)
{
	isvoid[n] = 1;
	for (best : 0 .. NU - 1) {
		copies[best] = copies[best] & (ALL - BIT(n));
		if
		:: backup[best] == n -> backup[best] = NOBODY; bver[best] = 0
		:: else
		fi;
		unqueue(best, n);
		if
		:: busy[best] && bp[best] == n -> cancel(best)
		:: busy[best] && bp[best] != n && bsent[best] && bfrom[best] == n ->
			retry(best)
		:: else
		fi;
		if
		:: busy[best] && (bwait[best] & BIT(n)) ->
			bwait[best] = bwait[best] & (ALL - BIT(n));
			proceed(best)
		:: else
		fi;
		settle(best)
	}
	best = 0
}

/* R15: inventory, verdict and the new lease are one step at the home. */
inline on_invent(u, p)
{
	hleft[p] = LEASE + 1; isvoid[p] = 0; src = 1;
	copies[u] = copies[u] & (ALL - BIT(p));
	if
	:: !(xy & 3) && backup[u] == p -> backup[u] = NOBODY; bver[u] = 0
	:: else
	fi;
	if
	:: (xy & 1) && busy[u] && bp[u] == p && btok[u] == xt -> commit(u, p)
	:: (xy & 1) && !(busy[u] && bp[u] == p && btok[u] == xt) && owner[u] == p &&
	   !(busy[u] && bsent[u] && bfrom[u] != p && bp[u] != p) ->
		version[u] = xq; granted[I(u,p)] = xt	/* its last grant may have been cancelled */
	:: (xy & 1) && owner[u] != p && backup[u] != p && !busy[u] &&
	   (xt == NEWEST(u) || (counter[u] == 0 && xt >= listed[u])) ->
		if
		:: VALID(owner[u]) && !orphan[u] -> new_backup(u, owner[u], version[u])
		:: else
		fi;
		orphan[u] = 0;
		virgin[u] = (owner[u] == NOBODY);
		owner[u] = p; version[u] = xq; granted[I(u,p)] = xt
	:: !(xy & 1) || backup[u] == p		/* handed off since the inventory left */
	:: else ->
		src = 0;
		if
		:: owner[u] == p -> orphan[u] = 1
		:: else
		fi
	fi;
	snd(HOME, p, VERDICT,u,xt,0,0,src,0);
	if	/* an upgrade that began when this owner was void */
	:: src && owner[u] == p && busy[u] && !bsent[u] && bp[u] != NOBODY && bp[u] != p && bright[u] == WRITE &&
	   bheld[u] == version[u] && (copies[u] & BIT(bp[u])) -> bwait[u] = bwait[u] | BIT(p); send_inv(u, p)
	:: else
	fi;
	if
	:: (xy & 2) && owner[u] != p && backup[u] != p && !(bwait[u] & BIT(p)) -> hdone(u, p)
	:: else
	fi
}

inline on_verdict(u, n)
{
	if
	:: !xx && PRESENT(I(u,n)) && tok[I(u,n)] == xt -> drop_copy(I(u,n))
	:: !xx && !PRESENT(I(u,n)) && hand[I(u,n)] -> forget_hand(I(u,n))	/* handed off meanwhile */
	:: else
	fi;
	if
	:: expired[n] && age[n] > 0 && age[n] <= LEASE ->
		tleft[n] = LEASE + 1 - age[n];
		expired[n] = 0;
		if
		:: dirty[I(u,n)] -> dirty[I(u,n)] = 0; right[I(u,n)] = WRITE
		:: else
		fi;
		ask_again(u, n)
	:: else
	fi;
	age[n] = 0
}
#endif

/* --- the invariants --------------------------------------------------------- */

#define W(u, n)		(right[I(u,n)] == WRITE)
#define R(u, n)		(right[I(u,n)] != NONE)

inline check_unit(u)
{
	xt = 0; xq = 0; xa = 0;
	for (j_ : 0 .. NN - 1) {
		if
		:: R(u, j_) ->
			xt++;
			assert(body[I(u,j_)] == cur[u] && !expired[j_]);		/* I2 */
			assert(recovering || owner[u] == j_ || (copies[u] & BIT(j_)) ||	/* I4 */
			       (busy[u] && bp[u] == j_))
		:: else
		fi;
		if
		:: W(u, j_) -> xq++
		:: else
		fi;
		if
		:: (PRESENT(I(u,j_)) && body[I(u,j_)] == cur[u]) || (hand[I(u,j_)] && hbody[I(u,j_)] == cur[u]) -> xa++
		:: else
		fi
	}
	assert(xq == 0 || xt == 1);			/* I1 */
	assert(xa > 0 || cur[u] == 0 ||			/* I3 */
	       (losses > 0 && (cur[u] > seen[u] || losses > 1 || evicted)));
	xt = 0; xq = 0; xa = 0; xx = 0; xy = 0; n_ = 0; j_ = 0; k = 0; src = 0; need = 0; old = 0
}

inline check()
{
	check_unit(0)
#if NU > 1
	; check_unit(1)
#endif
}

/* I5 */
inline check_rest(u)
{
	assert(!busy[u] && len(fifo[u]) == 0 && !recovering);
	for (j_ : 0 .. NN - 1) {
#if RANGES
		assert(range[j_] == 0 && !locked[I(u,j_)]);
#endif
		assert(want[I(u,j_)] == NONE && !expired[j_] && !isvoid[j_]);
		assert(!hand[I(u,j_)] || backup[u] == j_ || (owner[u] == j_ && !PRESENT(I(u,j_))));
		assert(backup[u] != j_ || hand[I(u,j_)]);
		assert(!owned[I(u,j_)] || owner[u] == j_);
		assert(owner[u] != j_ || owned[I(u,j_)] || hand[I(u,j_)] || orphan[u])
	}
	j_ = 0
}

inline at_rest()
{
	d_step {
		check_rest(0)
#if NU > 1
		; check_rest(1)
#endif
	}
}

/* --- events ----------------------------------------------------------------- */

#if RANGES
inline defer(u, n, f)
{
	deferred[I(u,n)] = k;
	ft[I(u,n)] = xt; fr[I(u,n)] = xq; fa[I(u,n)] = xa; fx[I(u,n)] = xx; fy[I(u,n)] = xy;
	snd(n, f, IACK,u,xt,0,0,DEFERRED,0)
}

/* R4: what came for a locked unit is answered now. */
inline unlock(u, n)
{
	locked[I(u,n)] = 0;
	xt = ft[I(u,n)]; xq = fr[I(u,n)]; xa = fa[I(u,n)]; xx = fx[I(u,n)]; xy = fy[I(u,n)];
	if
	:: deferred[I(u,n)] == INV -> on_inv(u, n, HOME)
	:: deferred[I(u,n)] == FORWARD -> on_forward(u, n)
	:: else
	fi;
	deferred[I(u,n)] = 0;
	ft[I(u,n)] = 0; fr[I(u,n)] = 0; fa[I(u,n)] = 0; fx[I(u,n)] = 0; fy[I(u,n)] = 0
}
#endif

inline handle(f, t, u)
{
	if
#if RANGES
	:: (k == INV || k == FORWARD) && locked[I(u,t)] && FRESH(u, t) -> defer(u, t, f)
#endif
	:: k == REQ -> on_req(u, f)
	:: k == GRANT -> on_grant(u, t)
	:: k == FORWARD && NOTLOCKED(u, t) -> on_forward(u, t)
	:: k == DATA -> on_data(u, t)
	:: k == INV && NOTLOCKED(u, t) -> on_inv(u, t, f)
	:: k == IACK -> on_iack(u, f)
	:: k == DONE -> on_done(u, f)
	:: k == HDONE -> on_hdone(u, t)
	:: k == EVICT -> on_evict(u, f)
	:: k == HASK -> on_hask(u, f)
	:: k == NACK -> on_nack(u, t)
#if CRASHES
	:: k == INVENT && xy >= 8 -> on_fresh(u, f)
#endif
#if TICKS
	:: k == RENEW -> on_renew(f)
	:: k == RACK -> on_rack(t)
	:: k == INVENT && xy < 8 -> on_invent(u, f)
	:: k == VERDICT -> on_verdict(u, t)
#endif
#ifndef PLANT_REPAIR_EARLY
	:: k == SYNC -> on_sync(u, t, f)
#else
	:: k == SYNC
#endif
	fi
}

hidden byte uu;

proctype link(byte f; byte t)
{
end:	do
	:: d_step { nempty(Q(f,t)) && !down[t * NN + f] -> Q(f,t)?k,uu,xt,xq,xa,xx,xy; handle(f, t, uu); settle(uu); check() }
#if DUPS
	:: d_step { nempty(Q(f,t)) && !down[t * NN + f] && dups_left && empty(stray) ->
		dups_left--; Q(f,t)?k,uu,xt,xq,xa,xx,xy; stray!k,uu,xt,xq,xa,xx,xy;
		stray_from = f; stray_to = t; handle(f, t, uu); settle(uu); check() }
	:: d_step { nempty(stray) && stray_from == f && stray_to == t && !down[t * NN + f] ->
		stray?k,uu,xt,xq,xa,xx,xy; stray_from = 0; stray_to = 0; handle(f, t, uu); settle(uu); check() }
#endif
#if DROPS || CRASHES
	:: d_step { down[f * NN + t] && !(t == HOME && (recovering & BIT(f))) -> came_up(f, t); check() }
#endif
	od
}

inline miss(u, n, w)
{
	want[I(u,n)] = w; req[I(u,n)]++; reqs_left--;
	ask(u, n);
	check()
}

proctype node(byte n; byte u)
{
end:	do
	:: d_step { reqs_left && want[I(u,n)] == NONE && right[I(u,n)] == NONE -> miss(u, n, READ) }
	:: d_step { reqs_left && want[I(u,n)] == NONE && right[I(u,n)] != WRITE -> miss(u, n, WRITE) }
	:: d_step { right[I(u,n)] == READ && !owned[I(u,n)] && want[I(u,n)] == NONE && !recovering && EVICTS ->
		snd(n, HOME, EVICT,u,tok[I(u,n)],0,0,0,0);
		evicted = 1; drop_copy(I(u,n)); check() }
#if TICKS
	:: d_step { u == 0 && (LEASED & BIT(n)) && age[n] == 0 && RENEWAL_DUE(n) && !recovering && !down[n * NN + HOME] -> renew(n); check() }
	:: d_step { u == 0 && (LEASED & BIT(n)) && hleft[n] == 0 && !isvoid[n] && !recovering -> assert(expired[n]); avoid(n); check() }
#endif
#if RANGES
	:: d_step { u == 0 && ranges_left && range[n] == 0 && want[I(0,n)] == NONE && want[I(1,n)] == NONE ->
		ranges_left--; range[n] = 1; check() }
	:: d_step { (range[n] == 1 || range[n] == 2) && RANGE_UNIT(n) == u && want[I(u,n)] == NONE ->
		if
		:: right[I(u,n)] == WRITE -> locked[I(u,n)] = 1; range[n]++
		:: else -> reqs_left++; miss(u, n, WRITE)
		fi;
		check() }
	:: d_step { u == 0 && range[n] == 3 -> range[n] = 0; unlock(0, n); unlock(1, n); check() }
#endif
#if KILLS
	:: d_step { kills_left && want[I(u,n)] != NONE -> kills_left--;
		give_up(u, n); check() }
#endif
#if RESTARTS
	:: d_step { u == 0 && (recovering & BIT(n)) && !expired[n] -> inventory(n); check() }
#if TICKS
	/* R17 */
	:: d_step { u == 0 && (recovering & BIT(n)) && expired[n] ->
		isvoid[n] = 1; answered(n); check() }
#endif
#endif
	od
}

proctype faults()
{
end:	do
#if DROPS
	:: d_step { drops_left && !recovering -> drops_left--; lose(0, 1); check() }
	:: d_step { drops_left && !recovering -> drops_left--; lose(0, 2); check() }
	:: d_step { drops_left -> drops_left--; lose(1, 2); check() }
#endif
#if CRASHES
	:: d_step { crashes_left -> crashes_left--; crash(1); check() }
	:: d_step { crashes_left -> crashes_left--; crash(2); check() }
#endif
#if TICKS
	:: d_step { ticks_left -> tick(); check() }
#endif
#if RESTARTS
	:: d_step { restarts_left -> restarts_left--; restart(); check() }
#endif
	:: timeout -> at_rest(); break
	od
}

init {
	byte f, t;
	atomic {
		for (f : 0 .. NN - 1) {
			for (t : 0 .. NN - 1) {
				if
				:: f == HOME || t == HOME || f != t -> run link(f, t)
				:: else
				fi
			}
		}
		for (f : 0 .. NN - 1) {
			for (t : 0 .. NU - 1) {
				run node(f, t)
			}
		}
		run faults()
	}
}
