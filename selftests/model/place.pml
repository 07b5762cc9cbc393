/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place, how space in a node's store is taken and given back (R25 of Documentation/protocol.rst),
 * as lib/core/place.c, serve.c and keep.c do it: one range, a home, two stores, an asker, and a
 * node that was silent and comes back with a frame. See README.rst.
 */
#ifndef OPS
#define OPS 3		/* calls of the asker; which, and for which store, is free */
#endif
#ifndef CRASHES
#define CRASHES 1	/* of the home */
#endif
#ifndef KILLS
#define KILLS 1		/* of a store's node */
#endif
#ifndef DROPS
#define DROPS 0		/* connections lost between home and a store */
#endif
#ifndef LATES
#define LATES 0		/* calls whose time is over */
#endif
#ifndef FAILS
#define FAILS 0		/* writes of the home's blob that fail */
#endif
#ifndef QUITS
#define QUITS 1		/* crashes of the asker */
#endif
#ifndef PUTS
#define PUTS 1		/* versions under way to a store */
#endif

#define G 4		/* generations, from 1: OPS is 3 at most */
#define P 2

#define NONE	0	/* states of a generation; READY is a place, the others are moves */
#define TAKING	1
#define READY	2
#define GIVING	3

#define ALLOCATE 1
#define FREE	2
#define UNRESERVE 3	/* by force */

#define OK	0
#define ERROR	1

/* What the home has written down ... */
byte dstate[G], dnode[G], dgen, dtomb;
bit dalloc, gone;
/* ... and what its khd knows. */
byte state[G], num[G], tomb;
bit alloc, calling[G], broken[G];	/* a call is under way; its connection is lost */
bit go;					/* kh_place_go() is due */
bit unsaved;				/* what is to be given back is not written down yet */
byte op, opid, opgen;			/* the call that is served, and the move it waits for */
bit opbad;				/* FREE: could not be written down */

/* A store: what is durable, and the command that it executes. */
bit up[P] = 1;
byte reserved[P], content[P];
byte wcmd[P], wgen[P], wnum[P];
bit mute[P];				/* whoever asked is not connected any more */
byte putting[P];			/* generation of a STORE under way, any time late */

chan calls = [2] of { byte, byte, byte };	/* op, id, store */
chan answers = [3] of { byte, byte };
chan to[P] = [G] of { byte, byte, byte };	/* state, generation, number of the call */
chan from[P] = [G] of { byte, byte, byte, byte };

byte frame;				/* generation that the silent node's frame is of */
bit silent;

/* The observer. */
bit acked, freed, cut, closed, faulty;
byte lastop;
byte ops_left = OPS, crashes_left = CRASHES, kills_left = KILLS, drops_left = DROPS;
byte lates_left = LATES, fails_left = FAILS, quits_left = QUITS, puts_left = PUTS;

/* Of one step. */
hidden byte xi, xg, xn, xp, xe;
hidden byte saved;

inline persist()
{
	if
	:: fails_left > 0 && !gone -> fails_left--; faulty = 1; saved = 0
	:: true ->
		saved = 1;
		for (xi : 1 .. 3) { dstate[xi] = state[xi] }
		dalloc = alloc; dtomb = tomb
	fi
}

inline answer(error)
{
	if
	:: op != 0 && !cut -> answers!opid,error
	:: else
	fi;
	op = 0; opid = 0; opgen = 0; opbad = 0
}

/* All that the call asked for was answered: serve.c kh_served_placed(). */
inline op_end(error)
{
	if
	:: op == UNRESERVE && !opbad ->
		gone = 1;
		for (xi : 1 .. 3) { state[xi] = NONE; dstate[xi] = NONE; calling[xi] = 0; broken[xi] = 0 }
		answer(OK)
	:: op == UNRESERVE && opbad -> answer(ERROR)
	:: op == FREE -> answer(opbad)
	:: op == ALLOCATE && error -> answer(ERROR)
	:: op == ALLOCATE && !error ->
		alloc = 1;
#ifdef PLANT_UNSAVED
		saved = 1;
#else
		persist();
#endif
		if
		:: saved -> answer(OK)
		:: else ->
			alloc = 0;
			state[opgen] = GIVING;
			persist();
			unsaved = unsaved || !saved;
			answer(ERROR)
		fi
	:: else
	fi
}

inline move_told(g, error)
{
	if
	:: op != 0 && opgen == g -> op_end(error)
	:: else
	fi
}

inline move_go(g)
{
	if
	:: state[g] == GIVING && !up[dnode[g]] -> move_told(g, ERROR)
	:: state[g] == TAKING && !up[dnode[g]] ->
		state[g] = GIVING;
		persist();
		move_told(g, ERROR)
	:: (state[g] == GIVING || state[g] == TAKING) && up[dnode[g]] ->
		/* A store does not give the same space twice: what it had there before goes first. */
		xe = 0;
		for (xi : 1 .. 3) {
			if
			:: state[g] == TAKING && state[xi] == GIVING && calling[xi] && dnode[xi] == dnode[g] -> xe = 1
			:: else
			fi
		}
		if
		:: !xe ->
			calling[g] = 1;
			to[dnode[g]]!state[g],g,num[g]
		:: else
		fi
	:: else
	fi
}

/* kh_place_go() */
inline place_go()
{
	saved = 1;
	if
	:: unsaved -> persist(); unsaved = !saved
	:: else
	fi;
	if
	:: saved ->
		for (xg : 1 .. 3) {
			if
			:: !gone && !calling[xg] -> move_go(xg)
			:: else
			fi
		}
	:: else
	fi
}

/* A store answered, or the call failed: place.c moved(). */
inline moved(g, error)
{
	calling[g] = 0; broken[g] = 0;
	if
	:: state[g] == TAKING && error ->
		state[g] = GIVING;
		persist();
		move_told(g, ERROR)
	:: state[g] == TAKING && !error ->
		state[g] = READY;
		move_told(g, OK)
	:: state[g] == GIVING && error -> move_told(g, ERROR)
	:: state[g] == GIVING && !error ->
		state[g] = NONE;
		persist();
		move_told(g, OK)
	:: else
	fi
}

inline give_ready()
{
	opgen = 0;
	for (xi : 1 .. 3) {
		if
		:: state[xi] == READY -> state[xi] = GIVING; opgen = xi
		:: else
		fi
	}
}

inline serve()
{
	op = xn; opid = xg; opbad = 0;
	if
	:: gone -> answer(ERROR)
	:: !gone && op == ALLOCATE && alloc -> answer(OK)
	:: !gone && op == ALLOCATE && !alloc ->
		dgen++;			/* kh_generation_take(): never used again */
		opgen = dgen;
		state[opgen] = TAKING; dnode[opgen] = xp;
#ifdef PLANT_SILENT_TAKING
		saved = 1;
#else
		persist();
#endif
		if
		:: saved ->
#ifdef PLANT_EARLY_ACK		/* the caller hears before the place is durable */
			answers!opid,OK; cut = 1;
#endif
			go = 1
		:: else -> state[opgen] = NONE; answer(ERROR)
		fi
	:: !gone && op != ALLOCATE && !alloc && op == FREE -> answer(OK)
	:: !gone && (alloc || op == UNRESERVE) && op != ALLOCATE ->
		/* free_commit(): one step; what comes back of it is refused from now on */
		xp = tomb; xe = alloc;
		alloc = 0;
#ifndef PLANT_FORGET_TOMBSTONE
		tomb = dgen;
#endif
		persist();
		if
		:: !saved -> tomb = xp; alloc = xe; answer(ERROR)
		:: saved ->
			give_ready();
			persist();
			unsaved = unsaved || !saved;
			opbad = !saved;
			if
			:: opgen == 0 || !saved -> op_end(OK)
			:: else -> go = 1
			fi
		fi
	fi
}

inline heard()
{
	if
	:: calling[xg] && !broken[xg] && num[xg] == xn && state[xg] == xp ->
		xp = xg; xn = xe;
		moved(xp, xn);
		go = 1
	:: else
	fi
}

proctype home()
{
end:	do
	:: atomic { op == 0 && calls?[xn,xg,xp] -> calls?xn,xg,xp; serve() }
	:: atomic { len(from[0]) != 0 || len(from[1]) != 0 ->
		if
		:: from[0]?xp,xg,xn,xe
		:: from[1]?xp,xg,xn,xe
		fi;
		heard() }
	:: atomic { go -> go = 0; place_go() }
	od
}

#define WAITS(g) (!gone && (broken[g] || (!calling[g] && (state[g] == GIVING || state[g] == TAKING))))

proctype timer()
{
end:	do
	:: atomic { !go && (WAITS(1) || WAITS(2) || WAITS(3) || (unsaved && !gone)) ->
		for (xn : 1 .. 3) {
			if
			:: broken[xn] -> moved(xn, ERROR)
			:: else
			fi
		}
		go = 1 }
	od
}

inline execute(p)
{
	xe = OK;
	if
	:: wcmd[p] == TAKING && (reserved[p] == 0 || reserved[p] == wgen[p]) -> reserved[p] = wgen[p]
	:: wcmd[p] == TAKING && reserved[p] != 0 && reserved[p] != wgen[p] -> xe = ERROR
	:: wcmd[p] == GIVING && reserved[p] == wgen[p] -> reserved[p] = 0; content[p] = 0
	:: else
	fi
}

proctype store(byte p)
{
end:	do
	:: atomic { !up[p] -> up[p] = 1 }
	:: atomic { up[p] && wcmd[p] == 0 && to[p]?[xp,xg,xn] ->
		to[p]?wcmd[p],wgen[p],wnum[p]; mute[p] = 0 }
#ifdef PLANT_RELEASE_BESIDE	/* a RELEASE does not wait for the RESERVE before it */
	:: atomic { up[p] && wcmd[p] == TAKING && to[p]?[GIVING,xg,xn] ->
		to[p]?xp,xg,xn;
		if
		:: reserved[p] == xg -> reserved[p] = 0; content[p] = 0
		:: else
		fi;
		from[p]!GIVING,xg,xn,OK }
#endif
	:: atomic { up[p] && wcmd[p] != 0 ->
		execute(p);
		if
		:: !mute[p] && !gone -> from[p]!wcmd[p],wgen[p],wnum[p],xe
		:: else
		fi;
		wcmd[p] = 0; wgen[p] = 0; wnum[p] = 0; mute[p] = 0 }
	/* What a holder sent: written where its generation has space, and nowhere else. */
	:: atomic { up[p] && putting[p] != 0 ->
		if
#ifdef PLANT_STALE_PUT
		:: reserved[p] != 0 -> content[p] = putting[p]
#else
		:: reserved[p] == putting[p] -> content[p] = putting[p]
#endif
		:: else
		fi;
		putting[p] = 0 }
	od
}

inline lose(p)
{
	do
	:: to[p]?xp,xg,xn
	:: empty(to[p]) -> break
	od;
	do
	:: from[p]?xp,xg,xn,xe
	:: empty(from[p]) -> break
	od;
	mute[p] = wcmd[p] != 0;
	for (xi : 1 .. 3) {
		if
		:: calling[xi] && dnode[xi] == p -> broken[xi] = 1
		:: else
		fi
	}
}

#define READYAT(g) (state[g] == READY)

inline execute_any(p)
{
	if
	:: wcmd[p] == TAKING && reserved[p] == 0 -> reserved[p] = wgen[p]
	:: wcmd[p] == GIVING && reserved[p] == wgen[p] -> reserved[p] = 0; content[p] = 0
	:: else
	fi
}

inline kill(p)
{
	if			/* what was under way has happened, or not */
	:: wcmd[p] != 0 -> execute_any(p)
	:: true
	fi;
	wcmd[p] = 0; wgen[p] = 0; wnum[p] = 0;
	lose(p);
	mute[p] = 0; putting[p] = 0;
	up[p] = 0
}

proctype faults()
{
end:	do
	:: atomic { crashes_left > 0 && !closed ->	/* the home's khd; its calls and the asker's connection end */
		crashes_left--; faulty = 1;
		lose(0); lose(1);
		do
		:: calls?xp,xg,xn
		:: empty(calls) -> break
		od;
		do
		:: answers?xp,xg
		:: empty(answers) -> break
		od;
		op = 0; opid = 0; opgen = 0; opbad = 0; unsaved = 0; go = 0;
		cut = 1;
		alloc = dalloc; tomb = dtomb;
		for (xi : 1 .. 3) {
			state[xi] = dstate[xi]; calling[xi] = 0; broken[xi] = 0; num[xi] = 0;
			if
#ifdef PLANT_KEEP_TAKING
			:: state[xi] == TAKING -> state[xi] = NONE
#else
			:: state[xi] == TAKING || (state[xi] == READY && !alloc) -> state[xi] = GIVING
#endif
			:: else
			fi
		} }
	:: atomic { kills_left > 0 && !closed ->
		kills_left--; faulty = 1;
		if :: kill(0) :: kill(1) fi }
	:: atomic { drops_left > 0 && !closed ->
		drops_left--; faulty = 1;
		if :: lose(0) :: lose(1) fi }
	:: atomic { lates_left > 0 && (calling[1] || calling[2] || calling[3]) ->
		lates_left--; faulty = 1;
		if
		:: calling[1] -> broken[1] = 1; num[1]++
		:: calling[2] -> broken[2] = 1; num[2]++
		:: calling[3] -> broken[3] = 1; num[3]++
		fi }
	/* A unit is written: its version is on its way to the store, a node that has it falls silent. */
	:: atomic { puts_left > 0 && alloc && (READYAT(1) || READYAT(2) || READYAT(3)) ->
		puts_left--;
		if
		:: READYAT(1) -> xg = 1
		:: READYAT(2) -> xg = 2
		:: READYAT(3) -> xg = 3
		fi;
		putting[dnode[xg]] = xg; frame = xg; silent = 1 }
	/* It is back, with its inventory: what was freed meanwhile is refused (verdict STALE). */
	:: atomic { silent && op != FREE ->
		silent = 0;
		if
		:: frame > tomb && alloc -> assert(state[frame] == READY)
		:: else
		fi;
		frame = 0 }
	od
}
proctype asker()
{
	byte id, kind, result;

	do
	:: atomic { ops_left == 0 -> closed = 1; break }
	:: atomic { ops_left > 0 ->
		id = ops_left; ops_left--;
		cut = 0; freed = 0;
		if
		:: kind = ALLOCATE; if :: calls!kind,id,0 :: calls!kind,id,1 fi
		:: kind = FREE; acked = 0; calls!kind,id,0
		:: ops_left == 0 -> kind = UNRESERVE; acked = 0; calls!kind,id,0
		fi }
	again:	if
		:: atomic { answers?[_,_] -> answers?xi,result;
			if
			:: xi != id -> goto again
			:: else
			fi;
			if
			:: kind == ALLOCATE && result == OK -> acked = 1
			:: kind == FREE && result == OK -> freed = 1
			:: kind == UNRESERVE && result == OK -> assert(gone)
			:: else
			fi }
		:: atomic { cut -> skip }			/* an error: the home's connection is lost */
		:: atomic { quits_left > 0 -> quits_left--; acked = 0 }
		fi
	od
}

#define DURABLE(g) (dstate[g] == READY && reserved[dnode[g]] == g)
#define TWICE(a, b) (state[a] == READY && state[b] == READY)
#define MOVES(g) (state[g] == TAKING || state[g] == GIVING || dstate[g] == TAKING || dstate[g] == GIVING)
#define KEPT(p) (reserved[p] == 0 || (dalloc && dstate[reserved[p]] == READY && dnode[reserved[p]] == p))
#define ALIEN(g) (alloc && state[g] == READY && content[dnode[g]] != 0 && content[dnode[g]] != g && reserved[dnode[g]] == g)

/* Invariants, and what must be so when nothing is left to happen. */
proctype observer()
{
end:	do
	:: atomic { acked && !(dalloc && (DURABLE(1) || DURABLE(2) || DURABLE(3))) -> assert(false) }
	:: atomic { freed && dalloc -> assert(false) }
	:: atomic { TWICE(1, 2) || TWICE(1, 3) || TWICE(2, 3) -> assert(false) }
	:: atomic { ALIEN(1) || ALIEN(2) || ALIEN(3) -> assert(false) }
	:: atomic { timeout && !gone ->
		assert(closed && op == 0 && empty(calls));
		assert(!MOVES(1) && !MOVES(2) && !MOVES(3));
		assert(KEPT(0) && KEPT(1));
		assert(!dalloc || DURABLE(1) || DURABLE(2) || DURABLE(3));
		break }
	:: atomic { timeout && gone ->
		assert(closed && op == 0);
		assert(faulty || (reserved[0] == 0 && reserved[1] == 0));
		break }
	od
}

init
{
	atomic { run home(); run timer(); run store(0); run store(1); run faults(); run asker(); run observer() }
}
