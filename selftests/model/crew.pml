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

#define I(u, n)		((u) * NN + (n))
#define Q(f, t)		q[(f) * NN + (t)]
#define BIT(n)		(1 << (n))
#define PRESENT(i)	(right[i] != NONE || owned[i])

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

mtype = { REQ, GRANT, FORWARD, DATA, INV, IACK, DONE, HDONE, EVICT, HASK, SYNC };

/*
 * kind, unit, then: REQ held request attempt want epoch   GRANT   token request attempt right+4*source need
 *                   DATA version request attempt body -   FORWARD token request attempt asker right
 *                   INV token - - keep -                  IACK    token - - kept -
 *                   DONE token request - - -              HDONE, EVICT, HASK token
 *                   SYNC
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
byte want[NU * NN];			/* threads wait for this right */
#ifdef PLANT_LATE_ACK
byte late[NU * NN];			/* the INV that the node has not answered yet */
#endif
/* ... and their khd. */
byte req[NU * NN], att[NU * NN];
bit gotg[NU * NN], gotd[NU * NN];
byte gtok[NU * NN], gkind[NU * NN], gneed[NU * NN], dver[NU * NN], dbody[NU * NN];
byte lreq[NU * NN], ltok[NU * NN];	/* the last request completed, for repeated DONEs */

/* The home. */
byte epoch = 1, counter[NU];
byte owner[NU] = NOBODY, version[NU], copies[NU], backup[NU] = NOBODY;
byte granted[NU * NN], last[NU * NN];	/* per party: token of the last right, last request done */
bit busy[NU];
byte bp[NU], br[NU], ba[NU], bright[NU], bsrc[NU], btok[NU], bwait[NU], bkeep[NU] = NOBODY;
bit bsent[NU];
chan fifo[NU] = [NN] of { byte };
byte wreq[NU * NN], watt[NU * NN], wright[NU * NN], wheld[NU * NN];
bit down[NN * NN];			/* down[f * NN + t]: f has no connection to t yet */
byte recovering;			/* nodes whose inventory is still missing */

/* The observer: how many writes there were, and faults and requests left. */
byte writes[NU];
byte reqs_left = REQS, drops_left = DROPS, dups_left = DUPS, restarts_left = RESTARTS;

hidden byte k, xt, xq, xa, xx, xy, n_, j_, best, old;

/* What a node sends before its end of the connection is up is lost. */
inline snd(f_, t_, m_, u_, a1, a2, a3, a4, a5)
{
	if
	:: !down[(f_) * NN + (t_)] -> Q(f_, t_)!m_,u_,a1,a2,a3,a4,a5
	:: else
	fi
}

/* --- holder ----------------------------------------------------------------- */

inline ask(u, n)
{
	gotg[I(u,n)] = 0; gtok[I(u,n)] = 0; gkind[I(u,n)] = 0; gneed[I(u,n)] = 0;
	gotd[I(u,n)] = 0; dver[I(u,n)] = 0; dbody[I(u,n)] = 0;
	att[I(u,n)]++;
	if
	:: PRESENT(I(u,n)) -> snd(n, HOME, REQ,u,ver[I(u,n)],req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	:: !PRESENT(I(u,n)) && hand[I(u,n)] -> snd(n, HOME, REQ,u,hver[I(u,n)],req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	:: else -> snd(n, HOME, REQ,u,NOVER,req[I(u,n)],att[I(u,n)],want[I(u,n)],low[I(u,n)] / EPOCH)
	fi
}

inline forget_hand(i)
{
	hand[i] = 0; htok[i] = 0; hver[i] = 0; hbody[i] = 0
}

inline drop_copy(i)
{
	right[i] = NONE; owned[i] = 0; tok[i] = 0; ver[i] = 0; body[i] = 0
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
	   (gkind[I(u,n)] != DATA_ || (gotd[I(u,n)] && dver[I(u,n)] == gneed[I(u,n)])) ->
		if
		:: gkind[I(u,n)] == HELD && PRESENT(I(u,n)) ->
			assert(ver[I(u,n)] == gneed[I(u,n)])
		:: gkind[I(u,n)] == HELD && !PRESENT(I(u,n)) ->
			assert(hand[I(u,n)] && hver[I(u,n)] == gneed[I(u,n)]);
			ver[I(u,n)] = hver[I(u,n)]; body[I(u,n)] = hbody[I(u,n)];
			owned[I(u,n)] = 1
		:: gkind[I(u,n)] == ZERO ->
			ver[I(u,n)] = 0; body[I(u,n)] = 0; owned[I(u,n)] = 1
		:: else ->
			ver[I(u,n)] = dver[I(u,n)]; body[I(u,n)] = dbody[I(u,n)]
		fi;
		forget_hand(I(u,n));
		right[I(u,n)] = want[I(u,n)]; tok[I(u,n)] = gtok[I(u,n)]; low[I(u,n)] = gtok[I(u,n)];
		if
		:: want[I(u,n)] == WRITE ->
			owned[I(u,n)] = 1; ver[I(u,n)] = gtok[I(u,n)];
			assert(body[I(u,n)] == writes[u]);
			writes[u]++; body[I(u,n)] = writes[u]
		:: else
		fi;
		lreq[I(u,n)] = req[I(u,n)]; ltok[I(u,n)] = gtok[I(u,n)];
		want[I(u,n)] = NONE; att[I(u,n)] = 0;
		gotg[I(u,n)] = 0; gtok[I(u,n)] = 0; gkind[I(u,n)] = 0; gneed[I(u,n)] = 0;
		gotd[I(u,n)] = 0; dver[I(u,n)] = 0; dbody[I(u,n)] = 0;
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
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] && FRESH(u, n) ->
		gotg[I(u,n)] = 1; gtok[I(u,n)] = xt; gkind[I(u,n)] = xx / 4; gneed[I(u,n)] = xy;
		complete(u, n)
	:: else ->
		if	/* R8: one that was completed already */
		:: xq == lreq[I(u,n)] && xt == ltok[I(u,n)] -> snd(n, HOME, DONE,u,xt,xq,0,0,0)
		:: else
		fi
	fi
}

inline on_data(u, n)
{
	if
	:: want[I(u,n)] != NONE && xq == req[I(u,n)] && xa == att[I(u,n)] ->
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
		:: else -> right[I(u,n)] = READ
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

/* --- home ------------------------------------------------------------------- */

inline hdone(u, n)
{
	snd(HOME, n, HDONE,u,epoch * EPOCH + counter[u],0,0,0,0)
}

inline forward(u)
{
	snd(HOME, owner[u], FORWARD,u,btok[u],br[u],ba[u],bp[u],bright[u])
}

inline send_inv(u, n)
{
	snd(HOME, n, INV,u,btok[u],0,0,(bkeep[u] == n),0)
}

inline grant(u)
{
	bsent[u] = 1;
	snd(HOME, bp[u], GRANT,u,btok[u],br[u],ba[u],bright[u] + 4 * bsrc[u],version[u]);
	if
	:: bsrc[u] == DATA_ -> forward(u)
	:: else
	fi
}

inline serve(u)
{
	if
	:: !busy[u] && !recovering && len(fifo[u]) > 0 ->
		fifo[u]?n_;
		busy[u] = 1; bp[u] = n_; bsent[u] = 0; bkeep[u] = NOBODY; bwait[u] = 0;
		br[u] = wreq[I(u,n_)]; ba[u] = watt[I(u,n_)]; bright[u] = wright[I(u,n_)];
		xt = wheld[I(u,n_)];
		wreq[I(u,n_)] = 0; watt[I(u,n_)] = 0; wright[I(u,n_)] = 0; wheld[I(u,n_)] = 0;
		counter[u]++; assert(counter[u] < EPOCH);
		btok[u] = epoch * EPOCH + counter[u];
		if
		:: owner[u] == NOBODY -> bsrc[u] = ZERO
		:: else ->
			if
			:: xt == version[u] && (owner[u] == n_ || copies[u] & BIT(n_)) -> bsrc[u] = HELD
			:: else -> bsrc[u] = DATA_; assert(owner[u] != n_)
			fi;
			if
			:: bright[u] == WRITE ->
				bwait[u] = copies[u] & (ALL - BIT(n_));
				if
				:: owner[u] == n_ ->
					for (j_ : 0 .. NN - 1) {
						if
						:: bwait[u] & BIT(j_) -> bkeep[u] = j_
						:: else
						fi
					}
				:: owner[u] != n_ && bsrc[u] == HELD -> bwait[u] = bwait[u] | BIT(owner[u])
				:: else
				fi;
#ifdef PLANT_SKIP_INV
				bwait[u] = bwait[u] & (ALL - BIT(2));
#endif
				for (j_ : 0 .. NN - 1) {
					if
					:: bwait[u] & BIT(j_) ->
						send_inv(u, j_)
					:: else
					fi
				}
			:: else
			fi
		fi;
		if
		:: bwait[u] == 0 -> grant(u)
		:: else
		fi
	:: else
	fi
}

inline on_req(u, p)
{
	if
	:: xq <= last[I(u,p)] || !CURRENT
	:: xq > last[I(u,p)] && CURRENT && busy[u] && bp[u] == p && br[u] == xq ->
		if
		:: xa > ba[u] ->
			ba[u] = xa;
			if
			:: bsrc[u] == HELD && xt != version[u] -> bsrc[u] = DATA_
			:: else
			fi;
			if
			:: bsent[u] -> grant(u)
			:: else
			fi
		:: else
		fi
	:: xq > last[I(u,p)] && CURRENT && !(busy[u] && bp[u] == p && br[u] == xq) &&
	   (xq > wreq[I(u,p)] || (xq == wreq[I(u,p)] && xa > watt[I(u,p)])) ->
		if
		:: wright[I(u,p)] == NONE -> fifo[u]!p
		:: else
		fi;
		wreq[I(u,p)] = xq; watt[I(u,p)] = xa; wright[I(u,p)] = xx; wheld[I(u,p)] = xt;
		serve(u)
	:: else
	fi
}

inline on_iack(u, p)
{
	if
	:: busy[u] && xt == btok[u] && (bwait[u] & BIT(p)) ->
		bwait[u] = bwait[u] & (ALL - BIT(p));
		copies[u] = copies[u] & (ALL - BIT(p));
		if
		:: bkeep[u] == p && xx ->
			if
			:: backup[u] != NOBODY && backup[u] != p -> hdone(u, backup[u])
			:: else
			fi;
			backup[u] = p
		:: else
		fi;
		if
		:: bwait[u] == 0 -> grant(u)
		:: else
		fi
	:: else
	fi
}

inline rest(u)
{
	busy[u] = 0; bp[u] = 0; br[u] = 0; ba[u] = 0; bright[u] = 0; bsrc[u] = 0; btok[u] = 0;
	bwait[u] = 0; bkeep[u] = NOBODY; bsent[u] = 0
}

inline on_done(u, p)
{
	if
	:: busy[u] && bp[u] == p && br[u] == xq && btok[u] == xt ->
		last[I(u,p)] = xq;
		granted[I(u,p)] = xt;
		if
		:: backup[u] == p -> backup[u] = NOBODY		/* R5: the grant ended its HANDOFF */
		:: else
		fi;
		old = owner[u];
		if
		:: bright[u] == READ && old == NOBODY -> owner[u] = p
		:: bright[u] == READ && old != NOBODY && old != p -> copies[u] = copies[u] | BIT(p)
		:: bright[u] == READ && old == p
		:: else ->
			owner[u] = p; version[u] = xt; copies[u] = 0;
			if
			:: old != NOBODY && old != p ->		/* R11 */
				if
				:: backup[u] != NOBODY && backup[u] != old -> hdone(u, backup[u])
				:: else
				fi;
				backup[u] = old
			:: else
			fi
		fi;
		rest(u);
		serve(u)
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
	:: !recovering && owner[u] != p && backup[u] != p && !(bwait[u] & BIT(p)) -> hdone(u, p)
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
		:: PRESENT(I(u,j_)) && ver[I(u,j_)] > version[u] -> version[u] = ver[I(u,j_)]
		:: else
		fi;
		if
		:: hand[I(u,j_)] && hver[I(u,j_)] > version[u] -> version[u] = hver[I(u,j_)]
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: PRESENT(I(u,j_)) && owned[I(u,j_)] && ver[I(u,j_)] == version[u] -> owner[u] = j_
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: owner[u] == NOBODY && hand[I(u,j_)] && hver[I(u,j_)] == version[u] -> owner[u] = j_
		:: else
		fi
	}
	for (j_ : 0 .. NN - 1) {
		if
		:: j_ != owner[u] && PRESENT(I(u,j_)) && ver[I(u,j_)] == version[u] ->
			assert(owner[u] != NOBODY);
			copies[u] = copies[u] | BIT(j_)
		:: j_ != owner[u] && PRESENT(I(u,j_)) && ver[I(u,j_)] != version[u] -> assert(false)
		:: else
		fi;
		if
		:: j_ != owner[u] && hand[I(u,j_)] && (best == NOBODY || hver[I(u,j_)] > hver[I(u,best)]) -> best = j_
		:: else
		fi
	}
	backup[u] = best;
	for (j_ : 0 .. NN - 1) {
		if
		:: hand[I(u,j_)] && j_ != owner[u] && j_ != backup[u] -> hdone(u, j_)
		:: else
		fi
	}
	best = 0;
	serve(u)
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

/* R8: SYNC is the first message of a new connection; it starts all repairs. */
inline on_sync(u, n, peer)
{
	if
	:: peer == HOME -> repeat_done(u, n)
	:: else
	fi;
	if
	:: n == HOME && busy[u] && (bwait[u] & BIT(peer)) -> send_inv(u, peer)
	:: else
	fi;
	if
	:: n == HOME && busy[u] && bsent[u] && bsrc[u] == DATA_ && owner[u] == peer -> forward(u)
	:: else
	fi;
	ask_again(u, n)
}

inline came_up(from, to)
{
	down[from * NN + to] = 0;
	for (best : 0 .. NU - 1) {
		snd(from, to, SYNC,best,0,0,0,0,0);
#ifdef PLANT_REPAIR_EARLY
		on_sync(best, from, to);
#endif
	}
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
		counter[best] = 0; owner[best] = NOBODY; version[best] = 0; copies[best] = 0; backup[best] = NOBODY;
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
	best = 0
}

inline inventory(n)
{
	recovering = recovering & (ALL - BIT(n));
	down[n * NN + HOME] = 0;
	for (best : 0 .. NU - 1) {
#ifdef PLANT_IGNORE_EPOCH
		skip;
#else
		low[I(best,n)] = epoch * EPOCH;
#endif
		lreq[I(best,n)] = 0; ltok[I(best,n)] = 0;
		ask_again(best, n)
	}
	if
	:: recovering == 0 ->
		for (old : 0 .. NU - 1) {
			rebuild(old)
		}
		old = 0
	:: else
	fi;
	best = 0
}

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
			assert(body[I(u,j_)] == writes[u]);				/* I2 */
			assert(recovering || owner[u] == j_ || (copies[u] & BIT(j_)) ||	/* I4 */
			       (busy[u] && bp[u] == j_))
		:: else
		fi;
		if
		:: W(u, j_) -> xq++
		:: else
		fi;
		if
		:: (PRESENT(I(u,j_)) && body[I(u,j_)] == writes[u]) || (hand[I(u,j_)] && hbody[I(u,j_)] == writes[u]) -> xa++
		:: else
		fi
	}
	assert(xq == 0 || xt == 1);			/* I1 */
	assert(xa > 0 || writes[u] == 0);		/* I3 */
	xt = 0; xq = 0; xa = 0; xx = 0; xy = 0; n_ = 0; j_ = 0; k = 0
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
		assert(want[I(u,j_)] == NONE);
		assert(!hand[I(u,j_)] || backup[u] == j_ || (owner[u] == j_ && !PRESENT(I(u,j_))));
		assert(backup[u] != j_ || hand[I(u,j_)]);
		assert(!owned[I(u,j_)] || owner[u] == j_);
		assert(owner[u] != j_ || owned[I(u,j_)] || hand[I(u,j_)])
	}
	j_ = 0
}

/* --- events ----------------------------------------------------------------- */

inline handle(f, t, u)
{
	if
	:: k == REQ -> on_req(u, f)
	:: k == GRANT -> on_grant(u, t)
	:: k == FORWARD -> on_forward(u, t)
	:: k == DATA -> on_data(u, t)
	:: k == INV -> on_inv(u, t, f)
	:: k == IACK -> on_iack(u, f)
	:: k == DONE -> on_done(u, f)
	:: k == HDONE -> on_hdone(u, t)
	:: k == EVICT -> on_evict(u, f)
	:: k == HASK -> on_hask(u, f)
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
	:: d_step { nempty(Q(f,t)) && !down[t * NN + f] -> Q(f,t)?k,uu,xt,xq,xa,xx,xy; handle(f, t, uu); check() }
#if DUPS
	:: d_step { nempty(Q(f,t)) && !down[t * NN + f] && dups_left && empty(stray) ->
		dups_left--; Q(f,t)?k,uu,xt,xq,xa,xx,xy; stray!k,uu,xt,xq,xa,xx,xy;
		stray_from = f; stray_to = t; handle(f, t, uu); check() }
	:: d_step { nempty(stray) && stray_from == f && stray_to == t && !down[t * NN + f] ->
		stray?k,uu,xt,xq,xa,xx,xy; stray_from = 0; stray_to = 0; handle(f, t, uu); check() }
#endif
#if DROPS
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

proctype node(byte n)
{
	byte u;
end:	do
	:: d_step { reqs_left && want[I(u,n)] == NONE && right[I(u,n)] == NONE -> miss(u, n, READ) }
	:: d_step { reqs_left && want[I(u,n)] == NONE && right[I(u,n)] != WRITE -> miss(u, n, WRITE) }
	:: d_step { right[I(u,n)] == READ && !owned[I(u,n)] && want[I(u,n)] == NONE && !recovering ->
		snd(n, HOME, EVICT,u,tok[I(u,n)],0,0,0,0);
		drop_copy(I(u,n)); check() }
#if RESTARTS
	:: d_step { recovering & BIT(n) -> inventory(n); check() }
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
#if RESTARTS
	:: d_step { restarts_left -> restarts_left--; restart(); check() }
#endif
	:: timeout -> check_rest(0); break
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
			run node(f)
		}
		run faults()
	}
}
