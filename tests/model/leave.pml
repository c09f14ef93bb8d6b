/* LEAVE: who rings a sleeping worker, a thread that submits or the pump. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/src/process_crew.cpp:  submit and dispatch(), publish() (LEAVE), collect_sleepers(),
 *                                           ring_sleepers(), drain()
 *         of runtime/src/pump.cpp:          Pump::wait(), without the linger, the ringing before it, the time-out
 *         of runtime/src/worker.cpp:        Worker::serve(), reply(), ring_host(), wait_for_requests()
 *         of runtime/include/tandem/doorbell.hpp:  Sleeper, Ringer, is_asleep(); doorbell.pml has the bell
 *
 * A worker says that it is ready; from then on it is given what a thread submits. A submitting thread leaves
 * the ringing to the pump, unless the pump sleeps. Each side's stores go through a buffer, in their order, that
 * the memory takes when it likes; a fence waits until it is empty. To give a mutex free is such a store.
 *
 * Holds: every message is replied to, and every reply taken. All three come to their end, so a request that is
 * left to a pump that is already asleep, or a reply that it sleeps over, is an invalid end state.
 * Fails with one of: WEAK_ORDER (the pump rings sleepers before its announcement only), WEAK_SLEEP (no fence in
 * the pump's announce()), WEAK_RING (no fence in the worker's must_ring()), NO_MUTEX with WEAK_LEAVE.
 * Holds also with NO_MUTEX (the crew's, around the books), or with WEAK_LEAVE (no fence in publish()) alone:
 * as long as both sides go through the crew's mutex, that fence is a second lock on the same door.
 */
#ifndef MESSAGES
#define MESSAGES 1
#endif
#define REPLIES (MESSAGES + 1)
#define ODD(word) ((word) & 1)

#define REQUESTS 0     /* commit word of the request ring */
#define REPLIED 1      /* commit word of the reply ring */
#define PUMP_WORD 2
#define WORKER_WORD 3
#define MUTEX 4        /* the crew's */
byte memory[5];

#define SUBMITTER 0
#define PUMP 1
#define WORKER 2
chan buffer[3] = [4] of { byte, byte };

/* In the system: the pump's eventfd, the worker's bell. */
bool event = false;
bool event_early = true;
byte count = 0;
bool asleep = false;

/* The host's books, under the mutex. */
byte waiting = 0, pushed = 0, head = 0, rung = 0;

inline fence(me) { empty(buffer[me]) }

inline lock() {
#ifndef NO_MUTEX
  atomic { memory[MUTEX] == 0 -> memory[MUTEX] = 1 }
#else
  skip
#endif
}
inline unlock(me) {
#ifndef NO_MUTEX
  buffer[me] ! MUTEX, 0  /* after all that was stored before, but it holds up nothing */
#else
  skip
#endif
}

/* wake: whether this thread must ring the worker, once it has left the mutex */
inline must_ring_worker(me, now, wake) {
  fence(me);
  now = memory[WORKER_WORD];
  atomic {
    if
    :: ODD(now) && now != rung -> rung = now; wake = true
    :: else
    fi;
    now = 0
  }
}
inline ring_worker(me, wake) {
  if
  :: wake ->
    atomic { empty(buffer[me]); count++ };
    asleep = false;
    wake = false
  :: else
  fi
}
inline dispatch(me, now, wake) {
  atomic {  /* the books */
    if
    :: head > 0 && waiting > 0 -> pushed = pushed + waiting; waiting = 0; now = 1
    :: else -> now = 0
    fi
  }
  if
  :: now == 1 ->
    buffer[me] ! REQUESTS, pushed;
#ifndef WEAK_LEAVE
    fence(me);                                     /* LEAVE */
#endif
    if
    :: ODD(memory[PUMP_WORD]) -> must_ring_worker(me, now, wake)
    :: else
    fi
  :: else
  fi
}
inline ring_sleepers(me, now, wake) {
  lock();
  if
  :: pushed != (head == 0 -> 0 : head - 1) -> must_ring_worker(me, now, wake)
  :: else
  fi;
  unlock(me);
  ring_worker(me, wake)
}

proctype memory_takes(byte from) {
  byte word, value;
end: do
  :: atomic { buffer[from] ? word, value -> memory[word] = value }
  od
}

proctype submitter() {
  byte submitted = 0, now;
  bool wake = false;
  do
  :: submitted == MESSAGES -> break
  :: else ->
    submitted++;
    lock();
    waiting++;
    dispatch(SUBMITTER, now, wake);
    unlock(SUBMITTER);
    ring_worker(SUBMITTER, wake)
  od
}

proctype pump() {
  byte epoch = 0, now;
  bool wake = false;
  do
  :: true ->
    lock();                                        /* drain() */
    head = memory[REPLIED];
    dispatch(PUMP, now, wake);
    unlock(PUMP);
    ring_worker(PUMP, wake);
    if
    :: head == REPLIES -> break
    :: else
    fi;

#ifdef WEAK_ORDER
    ring_sleepers(PUMP, now, wake);
#endif
    epoch = epoch | 1;
    buffer[PUMP] ! PUMP_WORD, epoch;               /* wait() */
#ifndef WEAK_SLEEP
    fence(PUMP);                                   /* SLEEP */
#endif
#ifndef WEAK_ORDER
    ring_sleepers(PUMP, now, wake);
#endif
    if
    :: memory[REPLIED] != head
    :: else ->
      fence(PUMP);                                 /* the system call's */
      if
      :: event
      :: event_early -> event_early = false
      fi
    fi;
    epoch = (epoch | 1) + 1;
    buffer[PUMP] ! PUMP_WORD, epoch;
    event = false
  od
}

inline reply() {
  replied++;
  buffer[WORKER] ! REPLIED, replied;
#ifndef WEAK_RING
  fence(WORKER);                                   /* RING */
#endif
  now = memory[PUMP_WORD];
  if
  :: ODD(now) && now != rung_pump ->
    rung_pump = now;
    atomic { empty(buffer[WORKER]); event = true }
  :: else
  fi;
  now = 0
}

proctype worker() {
  byte taken = 0, replied = 0, epoch = 0, rung_pump = 0, heard, now;
  reply();                                         /* that it is ready */
  do
  :: taken == MESSAGES -> break
  :: else ->
    if
    :: memory[REQUESTS] != taken -> taken++; reply()
    :: else ->
      heard = count;
      epoch = epoch | 1;
      buffer[WORKER] ! WORKER_WORD, epoch;
      fence(WORKER);                               /* SLEEP */
      if
      :: memory[REQUESTS] != taken
      :: else ->
        atomic {
          if
          :: count == heard -> asleep = true
          :: else
          fi;
          heard = 0
        }
        !asleep
      fi;
      epoch = (epoch | 1) + 1;
      buffer[WORKER] ! WORKER_WORD, epoch
    fi
  od
}

init {
  atomic {
    run memory_takes(SUBMITTER);
    run memory_takes(PUMP);
    run memory_takes(WORKER);
    run submitter();
    run pump();
    run worker()
  }
}
