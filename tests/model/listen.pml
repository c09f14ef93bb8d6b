/* AWAKE: who reads a worker's reply, the pump, a helper or the listener in the pump's place. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/src/pump.cpp:  wait(), fall_asleep(), wake_up(), enter(), help(), leave(), listen(), without time-outs
 *         of graph/include/tandem/stream_node.hpp:  linger(), sleep(), flush()
 *         of runtime/src/worker.cpp:  reply(), ring_host()
 *
 * A worker replies and rings once for each sleep of the host; doorbell.pml has the fences, so memory is plain here. A consumer that has
 * no item helps for a moment, or sleeps as the listener; or it has a look and does something else, for which it needs no model.
 *
 * Holds: every reply is read, also when the consumer comes for no further item: else the pump is in an invalid end state.
 * Fails with one of: NO_LOOK (a helper that leaves does not look), NO_BELL_BACK (the listener keeps the bell to itself),
 * NO_HELP (a listener that was rung does nothing), NO_TELL (who brings an item does not wake the listener).
 */
#ifndef REPLIES
#define REPLIES 2
#endif
#define ODD(word) ((word) & 1)

byte replied = 0, read_so_far = 0;
byte word = 0;                    /* odd: pump and helpers sleep */
byte helpers = 0;
bool pump_sleeps = false;
bool mutex = false;               /* awake_mutex_, and the stream's: each is held for one step only */
bool pipe = false;                /* rung by the worker */
bool pump_hears = true;           /* the pipe is in its epoll */
bool own_bell = false, listener_bell = false;
bool listening = false;           /* as the stream knows it */

inline announce() { word = word | 1 }
inline awake() { word = (word | 1) + 1 }

/* As Crew::drain(): by one at a time. Who brings items tells the one that listens. */
inline drain(any) {
  atomic {
    any = read_so_far != replied;
    read_so_far = replied;
#ifndef NO_TELL
    if
    :: any && listening -> listener_bell = true
    :: else
    fi
#endif
  }
}

proctype worker() {
  byte rung = 0, now;
  do
  :: replied == REPLIES -> break
  :: else ->
    replied++;
    now = word;
    if
    :: ODD(now) && now != rung -> rung = now; pipe = true
    :: else
    fi
  od
}

proctype pump() {
  bool any;
  do
  :: read_so_far == REPLIES -> break
  :: read_so_far != REPLIES ->
     drain(any);
     atomic {
       pump_sleeps = true;
       if
       :: helpers == 0 -> announce()
       :: else
       fi
     };
     if
     :: read_so_far != replied                      /* has_work() */
     :: else ->
       (pipe && pump_hears) || own_bell || read_so_far == REPLIES;
       atomic { if :: pump_hears -> pipe = false :: else fi };
       own_bell = false
     fi;
     atomic { pump_sleeps = false; awake() }
  od
}

inline enter() {
  atomic {
    if
    :: helpers == 0 && pump_sleeps -> awake()
    :: else
    fi;
    helpers++
  }
}
inline leave() {
  atomic {
    helpers--;
    if
    :: helpers == 0 && pump_sleeps -> announce()
    :: else
    fi
  };
#ifndef NO_LOOK
  if
  :: read_so_far != replied -> own_bell = true
  :: else
  fi
#endif
}

proctype consumer() {
  bool any, rung;
  byte lingers = 0, taken = 0;
  do
  :: taken != read_so_far -> taken = read_so_far    /* take_one() */
  :: taken == REPLIES -> break
  :: taken > 0 -> break                             /* it is at an item for ever */
  :: taken == read_so_far && taken != REPLIES && lingers < 2 ->
     lingers++;                                     /* linger(): in vain */
     enter();
     drain(any);
     leave()
  :: taken == read_so_far && taken != REPLIES ->
     listening = true;                              /* sleep(): under the lock, as the next */
     if
     :: read_so_far != taken -> listening = false
     :: read_so_far == taken ->
       pump_hears = false;                          /* listen() */
       pipe || listener_bell;
       rung = pipe;
       if
       :: rung -> pipe = false
       :: else
       fi;
       listener_bell = false;
#ifndef NO_BELL_BACK
       pump_hears = true;
#endif
       listening = false;
#ifndef NO_HELP
       if
       :: rung -> enter(); drain(any); leave()
       :: else
       fi
#endif
       skip
     fi
  od
}

init {
  atomic {
    run worker();
    run pump();
    run consumer()
  }
}
