/* BEGIN and RECALL: requests that the host takes back from a worker that is held up. For Spin 6.5; run by tests/model.sh.
 *
 * Models, of runtime/include/tandem/recall.hpp:   Beginner::begin() (BEGIN), Recaller::recall() (RECALL)
 *         of runtime/src/worker.cpp:              Worker::serve(), which declines or does each request
 *         of runtime/src/process_crew.cpp:        take_ahead_back(), accept(), and, of process_crew_lives.cpp, take_back() after a death
 *
 * Each side has a store buffer for its word, which the memory takes when it likes: a store is seen late by the other
 * side, as on x86 and worse. A fence waits until the buffer is empty. Replies and the end of a process are
 * seen in their order; doorbell.pml and ring.pml have the rest. The worker may die before any step of it.
 *
 * Holds: each message is done, by the worker or, taken back, by others, and none twice, unless a worker died in it.
 * The host is asked for a reply to every request, and gets one or the worker's end.
 * Fails with one of: WEAK_BEGIN (no fence in begin()), WEAK_RECALL (no fence in recall()), WEAK_DECLINED (the host
 * does not take back what was declined although it counted it as begun), WEAK_GIVEN (after a death it takes back
 * what it had taken back before).
 */
#ifndef REQUESTS
#define REQUESTS 3
#endif
#define DONE 1
#define DECLINED 2

/* What the memory holds, and what is on the way there. */
byte begun = 0;
byte recalled = 0;
chan begun_buffer = [2] of { byte };
chan recalled_buffer = [2] of { byte };

chan replies = [REQUESTS] of { byte };
bool dead = false;

byte done[REQUESTS];       /* by the worker, and it said so */
byte given[REQUESTS];      /* to others */

active proctype memory_of_worker() {
end:  do
  :: begun_buffer ? begun
  od
}
active proctype memory_of_host() {
end:  do
  :: recalled_buffer ? recalled
  od
}

active proctype worker() {
  byte place = 0;
  do
  :: place == REQUESTS -> break
  :: dead = true; break                                     /* killed */
  :: place < REQUESTS ->
    begun_buffer ! place + 1;                               /* begin() */
#ifndef WEAK_BEGIN
    empty(begun_buffer);                                    /* BEGIN */
#endif
    if
    :: place < recalled -> replies ! DECLINED
    :: else ->
      if
      :: dead = true; break                                 /* killed in the body */
      :: atomic { replies ! DONE; done[place]++ }           /* the commit word of its reply */
      fi
    fi;
    place++
  od
}

active proctype host() {
  byte answered = 0, mine = REQUESTS, place, reply;
  bool asked = false;                                       /* it has recalled */
  do
  :: answered == REQUESTS -> break
  :: !asked ->                                              /* take_ahead_back() */
    asked = true;
    recalled_buffer ! REQUESTS;
#ifndef WEAK_RECALL
    empty(recalled_buffer);                                 /* RECALL */
#endif
    mine = begun;
    if
    :: mine < answered -> mine = answered
    :: else
    fi;
    place = mine;
    do
    :: place == REQUESTS -> break
    :: else -> given[place]++; place++
    od
  :: replies ? reply ->                                     /* accept() */
    if
#ifndef WEAK_DECLINED
    :: reply == DECLINED && answered < mine -> given[answered]++
#endif
    :: reply == DONE -> assert(answered < mine)             /* else the worker is taken for a liar */
    :: else
    fi;
    answered++
  :: dead && empty(replies) ->                              /* take_back() */
    do
    :: answered == REQUESTS -> break
    :: else ->
      if
#ifndef WEAK_GIVEN
      :: answered < mine -> given[answered]++
      :: else
#else
      :: true -> given[answered]++
#endif
      fi;
      answered++
    od
  od;
  place = 0;
  do
  :: place == REQUESTS -> break
  :: else ->
    assert(done[place] + given[place] == 1);
    place++
  od
}
