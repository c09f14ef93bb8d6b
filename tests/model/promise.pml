/* PROMISE: messages that are left to a sleeping pump, because it has promised to come by itself; and to whoever takes those before them.
 * For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/src/crew.cpp:          submit() and flush() (ASK), flush_if_asked(), answer_ask()
 *         of runtime/src/process_crew.cpp:  somebody_looks(), promise_to_come() (PROMISE)
 *         of runtime/src/pump.cpp:          drain(), and wait() without the linger; the pump sleeps for good but for its promise
 *
 * The pump promises to come a few times, and then no more: a loop that pushed regularly has stopped. One who submits can wait for that, the
 * other cannot, and asks nobody if somebody has asked who cannot wait either, and is not answered yet. Stores go through a buffer, as in
 * leave.pml.
 *
 * Holds: when the pump sleeps for good and nothing more is submitted, every message is taken: an assertion.
 * Fails with one of: WEAK_PROMISE (no fence when the promise is taken back), WEAK_ASK (none in flush()), WEAK_LOOK (the promise is
 * taken back after the last look), WEAK_TAKE (the inbox is emptied before that is said).
 */
#ifndef MESSAGES
#define MESSAGES 1   /* of the loop */
#endif
#ifndef MORE
#define MORE 1       /* of the other */
#endif
#ifndef PROMISES
#define PROMISES 1
#endif
#define ODD(word) ((word) & 1)

#define PUMP_WORD 0
#define PROMISED 1
#define ASKED 2
#define MUTEX 3   /* the crew's */
byte memory[4];

#define LOOP 0       /* can wait */
#define COMMANDER 1  /* cannot */
#define PUMP 2
chan buffer[3] = [4] of { byte, byte };
#define PATIENTLY 1
#define AT_ONCE 2

byte inbox = 0, taken = 0;  /* under a lock of its own */
byte submitted = 0;         /* have done so */

inline fence(me) { empty(buffer[me]) }

proctype memory_takes(byte from) {
  byte word, value;
end: do
  :: atomic { buffer[from] ? word, value -> memory[word] = value }
  od
}

/* What holds the mutex looks again when it has let go. The exchanges with it are seq_cst, as all to ASKED but flush()'s first. */
inline flush_if_asked(me) {
  do
  :: atomic { empty(buffer[me]) && memory[ASKED] != 0 && memory[MUTEX] == 0 -> memory[MUTEX] = 1 };
#ifdef WEAK_TAKE
     atomic { taken = taken + inbox; inbox = 0 };
     atomic { memory[ASKED] = 0 };
#else
     atomic { memory[ASKED] = 0 };
     atomic { taken = taken + inbox; inbox = 0 };
#endif
     atomic { memory[MUTEX] = 0 }
  :: atomic { empty(buffer[me]) && (memory[ASKED] == 0 || memory[MUTEX] == 1) } -> break
  od
}

proctype submitter(byte me) {
  byte count = 0, asks = (me == LOOP -> PATIENTLY : AT_ONCE);
  bool is_asked;
  do
  :: count == (me == LOOP -> MESSAGES : MORE) -> break
  :: else ->
    count++;
    atomic { inbox++; is_asked = memory[ASKED] == AT_ONCE };
    if
    :: is_asked -> skip
    :: else ->
      if
      :: memory[ASKED] < asks -> buffer[me] ! ASKED, asks
      :: else
      fi;
#ifndef WEAK_ASK
      fence(me);                                   /* ASK */
#endif
      if
      :: !ODD(memory[PUMP_WORD]) -> skip
      :: else ->
        if
        :: me == LOOP && memory[PROMISED] == 1 -> skip
        :: else -> flush_if_asked(me)
        fi
      fi
    fi
  od;
  fence(me);
  submitted++
}

proctype pump() {
  byte promises = 0, epoch = 0;
  bool promise;
  do
  :: true ->
    flush_if_asked(PUMP);                          /* drain() */
    epoch = epoch | 1;
    buffer[PUMP] ! PUMP_WORD, epoch;
    fence(PUMP);                                   /* SLEEP */
    if
    :: promises < PROMISES -> promise = true; promises++; buffer[PUMP] ! PROMISED, 1
    :: promise = false;
#ifndef WEAK_LOOK
       buffer[PUMP] ! PROMISED, 0;
#ifndef WEAK_PROMISE
       fence(PUMP);                                /* PROMISE */
#endif
#endif
       skip
    fi;
    if
    :: memory[ASKED] != 0 -> skip
    :: else ->
      if
      :: promise -> skip                           /* its time-out */
      :: else ->
#ifdef WEAK_LOOK
        buffer[PUMP] ! PROMISED, 0;
#endif
        fence(PUMP);                               /* the system call's */
        submitted == 2;                            /* nobody wakes it */
        assert(taken == MESSAGES + MORE);
        break
      fi
    fi;
    epoch = (epoch | 1) + 1;
    buffer[PUMP] ! PUMP_WORD, epoch
  od
}

init {
  atomic {
    run memory_takes(LOOP);
    run memory_takes(COMMANDER);
    run memory_takes(PUMP);
    run submitter(LOOP);
    run submitter(COMMANDER);
    run pump()
  }
}
