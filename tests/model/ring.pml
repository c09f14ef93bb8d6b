/* The two rings of a worker, its death, and the host's ledger. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/include/tandem/ring.hpp:  RingWriter::push() and publish() (PUBLISH(ring)),
 *                                              RingReader::next() (TAKE(ring)) and read()
 *         of runtime/src/process_crew.cpp:     ask(), accept(), accept_done(); process_crew_lives.cpp: ended(), launch()
 *         of runtime/src/worker.cpp:           Worker::serve(), without the sleep; doorbell.pml has that
 *
 * A token is two words that the memory takes one by one, in any order; a commit word is taken once the tokens
 * before it are. Whoever reads may find the loads done in another order than it asked for, where nothing
 * forbids it. A worker may die before any of its steps; what the memory has not taken by then is lost. The host
 * learns of it from the pidfd, when the worker does nothing any more.
 *
 * Holds: no token is torn, or of another place or incarnation; a reply is the one that the ledger expects; a
 * message whose reply was committed is not tried again; each message ends exactly once.
 * Fails with one of: WEAK_PUBLISH (the commit word does not wait for the token), WEAK_TAKE (the token may be
 * loaded before the commit word), WEAK_CREDITS (more under way than the ring holds), WEAK_PIDFD (the host does
 * not wait until the worker is gone), WEAK_LAST (it does not read what was committed before the end), WEAK_NEW
 * (the next incarnation goes on with the old rings), WEAK_LEDGER (the host forgets what was under way).
 */
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define ATTEMPTS 2
#define CAPACITY 2
#define PLACES 4
#define WORDS 4             /* CAPACITY tokens of two words each */
#define BIT(i) (1 << (i))

/* A token: the incarnation, its place, and the message that it is about, in each of both words. */
#define TOKEN(incarnation, place, message) (1 + (message) + 4 * ((place) % 8) + 32 * (incarnation))

typedef Ring {
  byte commit;
  byte word[WORDS];
  /* Stored by the writer, and not taken by the memory yet. */
  byte held;                /* of the words: bits */
  byte next[WORDS];
  bool commit_held;
  byte commit_next;
  byte commit_needs;        /* words that must be taken first */
};
#define REQUESTS 0
#define REPLIES 1
Ring ring[2];

byte incarnation = 0;
byte killed = 0;            /* this incarnation goes no further */
byte gone = 0;              /* and the pidfd says that it is gone */
bool host_ended = false;
byte deaths = 0;
byte ended[MESSAGES];       /* how often */

inline take_word(r, i) {
  (ring[r].held & BIT(i)) ->
    ring[r].word[i] = ring[r].next[i];
    ring[r].held = ring[r].held & ~BIT(i);
    ring[r].commit_needs = ring[r].commit_needs & ~BIT(i)
}
proctype memory_takes(byte r) {
end: do
  :: atomic { take_word(r, 0) }
  :: atomic { take_word(r, 1) }
  :: atomic { take_word(r, 2) }
  :: atomic { take_word(r, 3) }
  :: atomic { ring[r].commit_held && ring[r].commit_needs == 0 ->
       ring[r].commit = ring[r].commit_next; ring[r].commit_held = false }
  od
}

inline store_word(r, i, value) {
  atomic { !(ring[r].held & BIT(i)) -> ring[r].next[i] = value; ring[r].held = ring[r].held | BIT(i) }
}
inline push_and_publish(r, place, message) {
  store_word(r, 2 * ((place) % CAPACITY), TOKEN(incarnation_of_token, place, message));
  store_word(r, 2 * ((place) % CAPACITY) + 1, TOKEN(incarnation_of_token, place, message));
  atomic {
    !ring[r].commit_held ->
      ring[r].commit_next = (place) + 1;
      ring[r].commit_held = true;
#ifndef WEAK_PUBLISH
      ring[r].commit_needs = ring[r].held                    /* PUBLISH(ring) */
#endif
  }
}
/* Reads the token at `place` into `one` and `two`; the caller has seen that there may be one. */
inline take(r, place) {
#ifndef WEAK_TAKE
  ring[r].commit != place;                                   /* TAKE(ring) */
#endif
  one = ring[r].word[2 * ((place) % CAPACITY)];
  two = ring[r].word[2 * ((place) % CAPACITY) + 1];
#ifdef WEAK_TAKE
  ring[r].commit != place;
#endif
  assert(one == two)
}
/* A new ring, in memory that held another. */
inline clear(r) {
  ring[r].commit = 0
}

proctype worker(byte incarnation_of_token) {
  byte place = 0, one, two, message;
  {
    do
    :: take(REQUESTS, place);
       message = (one - 1) % 4;
       assert(one == TOKEN(incarnation_of_token, place, message));
       /* the body */
       push_and_publish(REPLIES, place, message);
       place++
    od
  } unless {
    killed >= incarnation_of_token
  };
  atomic {
    ring[REPLIES].held = 0;
    ring[REPLIES].commit_held = false;
    ring[REPLIES].commit_needs = 0;
    gone = incarnation_of_token
  }
}

/* By a signal, at any time; at last because the host ends. */
proctype killer() {
end: do
  :: atomic { deaths < DEATHS && killed != incarnation -> deaths++; killed = incarnation }
  :: atomic { host_ended && killed != incarnation -> killed = incarnation }
  od
}

inline launch() {
  atomic {
#ifndef WEAK_NEW
    clear(REQUESTS);
    clear(REPLIES);
#endif
    incarnation++;
    incarnation_of_token = incarnation;
    pushed = 0;
    answered = 0;
    run worker(incarnation)
  }
}
inline accept() {
  take(REPLIES, answered);
  assert(one == TOKEN(incarnation_of_token, answered, asked[answered % PLACES]));
  ended[asked[answered % PLACES]]++;
  answered++;
  over++
}

proctype host() {
  byte asked[PLACES];       /* the ledger; larger than the rings, so that it is they that fail */
  bool waiting[MESSAGES];
  byte waiting_count = MESSAGES;
  byte attempts[MESSAGES];
  byte pushed = 0, answered = 0, incarnation_of_token = 0, over = 0;
  byte one, two, m;

  d_step {
    m = 0;
    do
    :: m == MESSAGES -> break
    :: else -> waiting[m] = true; m++
    od
  }
  launch();
  do
  :: over == MESSAGES -> break

#ifdef WEAK_CREDITS
  :: waiting_count > 0 && pushed - answered < CAPACITY + 1 ->
#else
  :: waiting_count > 0 && pushed - answered < CAPACITY ->
#endif
    d_step {                                                 /* ask() */
      m = 0;
      do
      :: waiting[m] -> break
      :: else -> m++
      od;
      waiting[m] = false;
      waiting_count--;
      asked[pushed % PLACES] = m
    }
    push_and_publish(REQUESTS, pushed, m);
    pushed++

  :: over < MESSAGES && ring[REPLIES].commit != answered -> accept()

#ifdef WEAK_PIDFD
  :: over < MESSAGES && killed == incarnation ->                            /* ended() */
#else
  :: over < MESSAGES && gone == incarnation ->
#endif
#ifndef WEAK_LAST
    do
    :: ring[REPLIES].commit != answered -> accept()
    :: else -> break
    od;
#endif
    assert(ring[REPLIES].commit == answered);
    /* The message that it was at loses an attempt; it and the others wait again. */
#ifndef WEAK_LEDGER
    if
    :: pushed != answered ->
      m = asked[answered % PLACES];
      attempts[m]++;
      if
      :: attempts[m] == ATTEMPTS -> ended[m]++; over++; answered++
      :: else
      fi
    :: else
    fi;
    do
    :: pushed == answered -> break
    :: else -> pushed--; waiting[asked[pushed % PLACES]] = true; waiting_count++
    od;
#endif
    atomic { ring[REQUESTS].held == 0 && !ring[REQUESTS].commit_held };  /* forking is a barrier */
    if
    :: over < MESSAGES -> launch()
    :: else
    fi
  od;
  host_ended = true;
  m = 0;
  do
  :: m == MESSAGES -> break
  :: else -> assert(ended[m] == 1); m++
  od
}

init {
  atomic {
    run memory_takes(REQUESTS);
    run memory_takes(REPLIES);
    run killer();
    run host()
  }
}
