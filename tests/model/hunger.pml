/* HUNGER: an emitter that is not woken for each credit, while those whom it feeds have plenty to do. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/src/source.cpp:  wait_credit() and announce_sleep(), without the look each second; ended(), end_and_look(), hurry()
 *         of runtime/src/crew.cpp:    submit() and look_for_hunger(), under the crew's lock; carry_out()
 *
 * What the table of leases keeps in one word, how many credits are free and the marks, changes in one step. A user keeps the last KEPT
 * items, of as many as may be in flight but one, so that a single credit comes back at a time; but EARLY times it gives one back before it
 * must. All accesses are seq_cst, so memory is plain.
 *
 * Holds: all messages are made and given back; else the emitter or the user is in an invalid end state.
 * Fails with one of: LOOK_FIRST (a crew looks for credits before it says that it is hungry), COUNT_LATE (who frees a credit looks at the
 * marks before it counts the credit), NO_HURRY (a hungry crew tells nobody), NO_LOOK (the emitter sleeps without a last look), MARK_LATE
 * (the emitter takes the mark of hunger off after it has looked at the crews).
 */
#ifndef MESSAGES
#define MESSAGES 7
#endif
#ifndef IN_FLIGHT
#define IN_FLIGHT 4
#endif
#define KEPT (IN_FLIGHT - 1)
#ifndef EARLY
#define EARLY 2
#endif
#define PLENTY 2
#define MANY_FREE 1   /* more than these wake the emitter in any case */

byte emitted = 0, with_crew = 0, made = 0, given_back = 0;
bool plenty = false, sleeping = false, bell = false;
byte free = IN_FLIGHT;             /* the word: this and the next two */
bool sleeps = false, hungry = false;

inline wake_emitter() {
  atomic {
    if
    :: sleeping -> sleeping = false; bell = true
    :: else
    fi
  }
}

inline hurry() {
  if
  :: sleeping ->
    hungry = true;
    if
    :: free > 0 -> wake_emitter()
    :: else
    fi
  :: else
  fi
}

inline announce_sleep(is_hungry) {
#ifdef MARK_LATE
  is_hungry = !plenty;
  hungry = false;
#else
  hungry = false;
  is_hungry = !plenty;
#endif
  atomic { sleeps = true; hungry = hungry || is_hungry }
}

/* The second half of what was done under the lock, and what follows it. */
inline look_for_hunger(now_hungry) {
#ifdef LOOK_FIRST
  if
  :: with_crew < PLENTY && plenty -> hurry()
  :: else
  fi;
#endif
  atomic {
    now_hungry = plenty && with_crew < PLENTY;
    plenty = with_crew >= PLENTY
  };
#if !defined(NO_HURRY) && !defined(LOOK_FIRST)
  if
  :: now_hungry -> hurry()
  :: else
  fi
#endif
}

proctype emitter() {
  bool now_hungry, is_hungry;
  do
  :: emitted == MESSAGES -> break
  :: else ->
    if
    :: atomic { free > 0 -> free--; emitted++; with_crew++ };
       look_for_hunger(now_hungry)
    :: free == 0 ->
       sleeping = true;
       announce_sleep(is_hungry);
#ifndef NO_LOOK
       if
       :: free > 0 -> skip
       :: else -> atomic { bell -> bell = false }
       fi;
#else
       atomic { bell -> bell = false };
#endif
       sleeping = false;
       atomic { sleeps = false; hungry = false }
    fi;
    bell = false
  od
}

proctype worker() {
  bool now_hungry;
  byte done = 0;
  do
  :: done == MESSAGES -> break
  :: atomic { with_crew > 0 -> with_crew-- };
     look_for_hunger(now_hungry);
     atomic { made++; done++ }
  od
}

proctype user() {
  byte early = 0;
  bool wakes;
  do
  :: given_back == MESSAGES -> break
  :: made > given_back && (made - given_back > KEPT || made == MESSAGES || early < EARLY) ->
    atomic {
      if
      :: made - given_back > KEPT || made == MESSAGES -> skip
      :: else -> early++
      fi
    };
#ifdef COUNT_LATE
    wakes = sleeps && (hungry || free + 1 > MANY_FREE);
    atomic { given_back++; free++ };
#else
    atomic { given_back++; free++; wakes = sleeps && (hungry || free > MANY_FREE) };
#endif
    if
    :: wakes -> wake_emitter()
    :: else
    fi
  od
}

init {
  atomic { run emitter(); run worker(); run user() }
}
