/* SLEEP and RING: a sleeper and a ringer, and a bell that is a counter. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/include/tandem/doorbell.hpp:  Sleeper::announce() and awake() (SLEEP),
 *                                                  Ringer::must_ring() (RING), FutexBell
 *         of runtime/src/worker.cpp:               Worker::serve() and wait_for_requests(), without the linger
 *         of runtime/include/tandem/ring.hpp:      the commit word of a ring; ring.pml has the rest
 *
 * Each side has a store buffer for its word, which the memory takes when it likes: a store is seen late by the
 * other side, as on x86 and worse. A fence waits until the buffer is empty; so does the counter's locked
 * addition. A futex compares and sleeps in one step, with a barrier before; once, it may also end early.
 *
 * Holds: every token is taken. Both processes come to their end, so a sleeper that nobody rings is an invalid
 * end state. Each sleep is rung at most once.
 * Fails with one of: WEAK_SLEEP (no fence in announce()), WEAK_RING (no fence in must_ring()), WEAK_LOOK (the
 * sleeper does not look once more), WEAK_BELL (a bare wake-up call: the sleeper does not compare the counter),
 * WEAK_COUNT (the counter is read after the announcement, so a late ring is taken for an old one), WEAK_ONCE
 * (rings for each token).
 */
#ifndef TOKENS
#define TOKENS 3
#endif
#define ODD(word) ((word) & 1)

/* What the memory holds, and what is on the way there. */
byte commit = 0;
byte word = 0;
chan commit_buffer = [2] of { byte };
chan word_buffer = [2] of { byte };

byte count = 0;         /* the bell */
bool asleep = false;    /* in the futex */
bool early = true;      /* it may still end early */

byte rings_for[6 * TOKENS + 8];  /* by the word that the ringer saw */

active proctype memory_of_ringer() {
end:  do
  :: commit_buffer ? commit
  od
}
active proctype memory_of_sleeper() {
end:  do
  :: word_buffer ? word
  od
}

active proctype ringer() {
  byte published = 0, now, rung = 0;
  do
  :: published == TOKENS -> break
  :: else ->
    published++;
    commit_buffer ! published;                              /* publish() */
#ifndef WEAK_RING
    empty(commit_buffer);                                   /* RING */
#endif
    now = word;
    if
#ifdef WEAK_ONCE
    :: ODD(now) ->
#else
    :: ODD(now) && now != rung ->
#endif
      rung = now;
      rings_for[now]++;
      assert(rings_for[now] == 1);
      atomic { empty(commit_buffer); count++ };             /* ring(): a locked addition... */
      asleep = false                                        /* ...and the wake-up */
    :: else
    fi
  od
}

active proctype sleeper() {
  byte taken = 0, epoch = 0, heard, seen;
  do
  :: taken == TOKENS -> break
  :: else ->
    seen = commit;                                          /* take() */
    if
    :: seen != taken -> taken = seen
    :: else ->
#ifndef WEAK_COUNT
      heard = count;                                        /* wait_for_requests() */
#endif
      epoch = epoch | 1;
      word_buffer ! epoch;                                  /* announce() */
#ifndef WEAK_SLEEP
      empty(word_buffer);                                   /* SLEEP */
#endif
#ifdef WEAK_COUNT
      heard = count;
#endif
#ifndef WEAK_LOOK
      seen = commit;
#else
      seen = taken;
#endif
      if
      :: seen != taken
      :: else ->
        atomic {
          empty(word_buffer);                               /* the system call's barrier */
          if
#ifdef WEAK_BELL
          :: true -> asleep = true
#else
          :: count == heard -> asleep = true
          :: count != heard
#endif
          fi
        }
        if
        :: !asleep                                          /* until it is rung */
        :: early -> early = false; asleep = false
        fi
      fi;
      epoch = (epoch | 1) + 1;
      word_buffer ! epoch                                   /* awake() */
    fi
  od
}
