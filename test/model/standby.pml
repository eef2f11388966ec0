/*
 * standby.pml: the coherence protocol on a hot standby, for the model checker SPIN
 *
 * What is modelled
 *   primary      Writers change the rows of one key: an xid and rows into the log, then PRE_COMMIT, where
 *                whoever finds the flag set logs his stamp, then the commit record, or none for an abort.
 *                The launcher sets and clears the flag and logs that.  The primary may crash: who runs is
 *                lost, the flag is cleared, and the log has a shutdown checkpoint.
 *   prepared     With PREPARES a writer may take a place with proof of his stamps before he logs them, and be
 *                prepared: then he outlives crashes.  Before the launcher says "on" it logs the
 *                stamps of all who have proof, and names them.
 *   log          Records in order.
 *   standby      Redoes them one after the other.  It begins anywhere in the log: of what is before it has
 *                the rows and the xids, but not the stamps.
 *   snapshots    The set of xids whose commits are redone.
 *   memory       One slot for the key (gen, xids), one for its home (gen), the floor, who is known, one entry.
 *   Filler, Reader   as in coherence.pml: sample, compute, publish under the lock; copy, then judge.
 *
 * One step here is one step there: to read or write a slot whole, the floor, an entry.
 *
 * What is claimed (assert): a hit equals what the reader's snapshot reads from the rows.
 *
 * Not modelled: what coherence.pml is about (full slots, more keys, tags), promotion.
 */

#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef SWITCHES
#define SWITCHES 3			/* of the flag: on, off, on */
#endif
#ifndef CRASHES
#define CRASHES 0
#endif

#define BIT(x) (1 << (x))
#define EVERY  ((1 << WRITERS) - 1)

mtype = { ROWS, STAMP, COMMIT, AGAIN, ON, OFF, RESTART };

chan log = [2] of { mtype, byte, byte };	/* who; who is known */

/* Of the primary. */
bool flag = false;
byte epoch = 0;				/* moved by each crash */
byte proven = 0;			/* who left proof of his stamps */
byte prepared = 0;

/* Of the standby: redone, and the shared memory.  Xids are 0, 1, ...; the floor is one more. */
byte next = 0;				/* the next xid */
byte finished = 0;
bool started = false;
byte floor = 0;				/* 0: nothing is believed */
byte known = 0;				/* below the floor, but stamped here */
byte gen = 0;
byte xids = 0;				/* of the key's slot */
byte home = 0;				/* gen of the home */
bool stands = false;		/* an entry */
byte value;
byte value_home;

inline writer_says(kind)
{
	atomic { if :: epoch == mine -> log!kind(me, 0) :: else -> goto lost fi }
}

inline prepare()
{
	atomic { if :: epoch == mine -> proven = proven | BIT(me) :: else -> goto lost fi };
	logs = flag;
	if :: logs -> writer_says(STAMP) :: else fi;
	atomic { if :: epoch == mine -> prepared = prepared | BIT(me) :: else -> goto lost fi };
	if
	:: log!COMMIT(me, 0); proven = proven & ~BIT(me)
	:: skip
	fi;
	goto lost
}

proctype Writer(byte me)
{
	bool logs;
	byte mine;

	mine = epoch;
	writer_says(ROWS);
#ifdef PREPARES
	if :: prepare() :: skip fi;
#endif
	logs = flag;
	if :: logs -> writer_says(STAMP) :: else fi;
	if :: writer_says(COMMIT) :: skip fi;
lost:
	skip
}

/* After a crash it begins anew. */
inline launcher_says(kind)
{
	atomic { if :: epoch == mine -> log!kind(0, told) :: else fi }
}

/* Log the stamps of those who have proof. */
inline log_anew()
{
	launcher_says(AGAIN);
#ifndef M_NAMES_ONLY
	x = 0;
	do
	:: x < WRITERS ->
		atomic { if :: epoch == mine && (told & BIT(x)) != 0 -> log!STAMP(x, 0) :: else fi };
		x++
	:: x == WRITERS -> break
	od
#endif
}

inline launcher_sets(to)
{
	atomic { if :: epoch == mine -> flag = to :: else fi }
}

proctype Launcher()
{
	byte i = 0;
	byte mine;
	byte told = 0;
	byte x;

	do
	:: i < SWITCHES && !flag ->
#ifdef M_SAYS_FIRST
		atomic { mine = epoch; log!ON(0, 0) };
		launcher_sets(true);
#else
		atomic { mine = epoch; flag = true };
#ifdef PREPARES
		told = proven;
#ifdef M_LOGS_LATER
		launcher_says(AGAIN);
#else
		log_anew();
#endif
#endif
		launcher_says(ON);
#ifdef M_LOGS_LATER
		log_anew();
#endif
#endif
		i++
#ifdef SAYS_AGAIN
	:: i < SWITCHES && flag ->
		atomic { mine = epoch; told = proven };
		log_anew();
		launcher_says(ON);
		i++
#endif
	:: i < SWITCHES && flag ->
#ifdef M_ENDS_FIRST
		atomic { mine = epoch; flag = false };
		launcher_says(OFF);
#else
		atomic { mine = epoch; log!OFF(0, 0) };
		launcher_sets(false);
#endif
		i++
	:: i == SWITCHES -> break
	od
}

proctype Crash()
{
	byte i = 0;

	do
	:: i < CRASHES -> atomic { nfull(log) -> epoch++; flag = false; proven = proven & prepared; log!RESTART(0, 0) }; i++
	:: i == CRASHES -> break
	od
}

inline doubt()
{
	floor = 0;
#ifndef M_KEEPS
	home++
#endif
}

proctype Redo()
{
	mtype kind;
	byte x, named;
	bool heard = false;			/* that stamps are logged again, and so all of these */

end_of_log:
	do
	:: !started -> started = true
	:: log?kind(x, named) ->
		if
		:: kind == ROWS -> if :: x >= next -> next = x + 1 :: else fi
		:: kind == STAMP ->
			if
#ifdef M_STAMPS_ENDED
			:: started ->
#else
			:: started && (finished & BIT(x)) == 0 ->
#endif
				atomic { gen++; xids = (xids & ~finished) | BIT(x) };
				stands = false
			:: else
			fi
		:: kind == COMMIT -> finished = finished | BIT(x)
		:: kind == AGAIN -> heard = started
		:: kind == ON ->
			atomic {
				if
				:: started ->
#if defined(M_BELIEVES_NAMES) || defined(M_STAMPS_ENDED)
					known = named;
#else
					known = (heard -> named & ~finished : 0);
#endif
					heard = false;
					if
					:: floor == 0 ->
#ifdef M_NOFLOOR
						floor = 1
#else
						floor = next + 1
#endif
					:: else
					fi
				:: else
				fi
			}
		:: kind == OFF ->
#ifndef M_NOOFF
			if :: started && floor != 0 -> doubt() :: else fi
#else
			skip
#endif
		:: kind == RESTART ->
#ifndef M_NORESTART
			if :: started && floor != 0 -> doubt() :: else fi
#else
			skip
#endif
		fi
	od
}

/* A snapshot of all that is finished. */
inline take_snapshot()
{
	seen = finished
}

/* Of those below the floor all are finished in the snapshot but who are known. */
#ifdef M_KNOWS_ALL
#define BELIEVED (floor != 0)
#else
#define BELIEVED (floor != 0 && ((BIT(floor - 1) - 1) & ~(seen | known)) == 0)
#endif

/* The floor is asked for after the slot was read. */
inline ask_again()
{
#ifndef M_ASKS_ONCE
	if :: BELIEVED :: else -> goto end fi
#else
	skip
#endif
}

proctype Filler()
{
	byte seen, key_gen, home_gen;

	take_snapshot();
	if :: BELIEVED :: else -> goto end fi;
	atomic {
		key_gen = gen;
		if :: (xids & ~seen) == 0 :: else -> goto end fi
	};
	ask_again();
	home_gen = home;
	ask_again();
	atomic {
		if
		:: gen == key_gen -> stands = true; value = seen; value_home = home_gen
		:: else
		fi
	};
end:
	skip
}

proctype Reader()
{
	byte seen, copy, copy_home;

	take_snapshot();
	atomic {
		if :: stands -> copy = value; copy_home = value_home :: else -> goto end fi
	};
	if :: BELIEVED :: else -> goto end fi;
	if :: (xids & ~seen) == 0 :: else -> goto end fi;
	ask_again();
	if :: home == copy_home :: else -> goto end fi;
	ask_again();
#ifdef WITNESS
	assert(copy == 0);
#else
	assert(copy == seen);
#endif
end:
	skip
}

init
{
	byte i = 0;

	atomic {
		do
		:: i < WRITERS -> run Writer(i); i++
		:: else -> break
		od;
		run Launcher();
		run Crash();
		run Redo();
		run Filler();
		run Reader()
	}
}
