/* HUNGER: an emitter that is not woken for each credit, while those whom it feeds have plenty to do. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/src/source.cpp:  wait_credit(), count_off(), may_gather(), hurry(), without the look each second
 *         of runtime/src/crew.cpp:    submit() and look_for_hunger(), under the crew's lock; carry_out()
 *
 * A user keeps the last KEPT items, of as many as may be in flight but one, so that a single credit comes back at a time; but EARLY
 * times it gives one back before it must. All accesses are seq_cst, so memory is plain.
 *
 * Holds: all messages are made and given back; else the emitter or the user is in an invalid end state.
 * Fails with one of: LOOK_FIRST (a crew looks for credits before it says that it is hungry), COUNT_LATE (who frees a credit looks at the
 * crew before it counts the credit), NO_HURRY (a hungry crew tells nobody), NO_LOOK (the emitter sleeps without a last look).
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

byte free = IN_FLIGHT, emitted = 0, with_crew = 0, made = 0, given_back = 0;
bool plenty = false, sleeping = false, bell = false;

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
  :: free > 0 -> wake_emitter()
  :: else
  fi
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
  bool hungry;
  do
  :: emitted == MESSAGES -> break
  :: else ->
    if
    :: atomic { free > 0 -> free--; emitted++; with_crew++ };
       look_for_hunger(hungry)
    :: free == 0 ->
       sleeping = true;
#ifndef NO_LOOK
       if
       :: free > 0 -> sleeping = false
       :: else -> atomic { bell -> bell = false }
       fi
#else
       atomic { bell -> bell = false }
#endif
    fi;
    bell = false
  od
}

proctype worker() {
  bool hungry;
  byte done = 0;
  do
  :: done == MESSAGES -> break
  :: atomic { with_crew > 0 -> with_crew-- };
     look_for_hunger(hungry);
     atomic { made++; done++ }
  od
}

proctype user() {
  byte early = 0;
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
    bool gathers = free <= MANY_FREE && plenty;
    atomic { given_back++; free++ };
    if
    :: sleeping && !gathers -> wake_emitter()
    :: else
    fi
#else
    atomic { given_back++; free++ };
    if
    :: sleeping ->
      if
      :: free <= MANY_FREE ->
        if
        :: plenty -> skip
        :: else -> wake_emitter()
        fi
      :: else -> wake_emitter()
      fi
    :: else
    fi
#endif
  od
}

init {
  atomic { run emitter(); run worker(); run user() }
}
