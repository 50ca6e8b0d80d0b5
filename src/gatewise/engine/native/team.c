/* Threads, and waiting for each other. */
#include <pthread.h>
#include <sched.h>

enum { MAX_THREADS = 64 };

static int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

/* The threads that torch keeps, where they could be found: any other threads would share the cores with these, which
   keep spinning while they wait for work. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned); /* a function, its argument, threads, flags */
    int (*members)(void);                                           /* how many threads run the function */
} OpenMP;

/* Pieces of work; a thread that is free takes the next one, so it works with any number of threads. */
typedef struct {
    void (*run)(void *);
    char *pieces;
    size_t size;
    int count, next;
} Team;

static void run_team(void *pointer) {
    Team *team = pointer;
    for (int k; (k = __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED)) < team->count;)
        team->run(team->pieces + (size_t)k * team->size);
}

static void *run_thread(void *pointer) {
    run_team(pointer);
    return NULL;
}

static void run_pieces(const OpenMP *omp, int64_t most, void (*run)(void *), void *pieces, size_t size, int count) {
    Team team = {run, pieces, size, count, 0};
    int threads = (int)at_most(at_most(most, count), MAX_THREADS), started = 0;
    if (omp->parallel && threads > 1) {
        omp->parallel(run_team, &team, (unsigned)threads, 0);
        return;
    }
    pthread_t handles[MAX_THREADS];
    while (started < threads - 1 && !pthread_create(&handles[started], NULL, run_thread, &team)) started++;
    run_team(&team);
    while (started > 0) pthread_join(handles[--started], NULL);
}

typedef struct {
    int arrived, rounds;
} Barrier;

/* Threads spin, as steps are too short to sleep and wake up. One that has waited for long yields its core. */
static void wait_for_all(Barrier *barrier, int members) {
    int round = __atomic_load_n(&barrier->rounds, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == members) {
        __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier->rounds, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int turns = 0; __atomic_load_n(&barrier->rounds, __ATOMIC_ACQUIRE) == round;)
        turns < 10000 ? turns++ : sched_yield();
}
