/* A whole sequence of one cell, forward and backward. Generated parts stand between @ signs.

   Rows are packed as gatewise.engine.packing describes: those alive at step t are the first sizes[t] rows of
   the state, and begin at row starts[t] of what has a row per step. Threads share the sequences. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef @TYPE@ T;
#define DOUBLE @DOUBLE@
enum { H = @H@, GATES = @GATES@, STATES = @STATES@, OWN = @OWN@, SAVED = @SAVED@, BLOCKS = GATES * H };
enum { USES_HIDDEN = @USES_HIDDEN@, HIDDEN_GRAD = @HIDDEN_GRAD@, SHARED = @SHARED@, MAX_THREADS = 64 };

/* No feature depends on another, and sums may be taken in any order. */
#define PRAGMA(text) _Pragma(#text)
#define LOOP PRAGMA(omp simd)
#define LOOP_ADDING(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))

/* exp(x) = 2^n exp(r), |r| <= ln(2) / 2, with n = round(x / ln 2): adding 1.5 · 2^(mantissa bits) leaves n in the
   low bits of the sum. exp(r) - 1 is its Taylor series, whose first term left out is below half a unit in the
   last place: 0.35^8 / 8! = 5e-9 for a float, 0.35^14 / 14! = 4e-18 for a double. NaN compares false and passes. */
#if DOUBLE
#define REAL(name) name
typedef uint64_t Bits;
#define SHIFTER 6755399441055744.0
#define MANTISSA 52
#define BIAS 1023
#define LARGEST 709.78
#define SMALLEST -708.39
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#else
#define REAL(name) name##f
typedef uint32_t Bits;
#define SHIFTER 12582912.0f
#define MANTISSA 23
#define BIAS 127
#define LARGEST 88.72f
#define SMALLEST -87.33f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#endif

static inline T gw_power_of_two(T shifted) {
    union { T value; Bits bits; } from = {shifted}, zero = {SHIFTER}, to;
    to.bits = (from.bits - zero.bits + BIAS) << MANTISSA;
    return to.value;
}

/* exp(r) - 1 and, behind `scale`, 2^n / 2: for n one above the largest exponent 2^n is no number. */
static inline T gw_reduced(T x, T *scale) {
    T shifted = x * (T)1.44269504088896340736 + SHIFTER;
    T n = shifted - SHIFTER;
    T r = (x - n * LN2_HIGH) - n * LN2_LOW;
    *scale = gw_power_of_two(shifted - 1);
#if DOUBLE
    T q = (T)(1.0 / 6227020800);
    q = q * r + (T)(1.0 / 479001600);
    q = q * r + (T)(1.0 / 39916800);
    q = q * r + (T)(1.0 / 3628800);
    q = q * r + (T)(1.0 / 362880);
    q = q * r + (T)(1.0 / 40320);
    q = q * r + (T)(1.0 / 5040);
#else
    T q = (T)(1.0 / 5040);
#endif
    q = q * r + (T)(1.0 / 720);
    q = q * r + (T)(1.0 / 120);
    q = q * r + (T)(1.0 / 24);
    q = q * r + (T)(1.0 / 6);
    q = q * r + (T)0.5;
    return q * r * r + r;
}

static inline T gw_exp(T x) {
    T clamped = x > LARGEST ? LARGEST : x;
    clamped = clamped < SMALLEST ? SMALLEST : clamped;
    T scale, q = gw_reduced(clamped, &scale);
    T y = (q * scale + scale) * 2;
    y = x > LARGEST ? (T)INFINITY : y;
    return x < SMALLEST ? 0 : y;
}

static inline T gw_sigmoid(T x) { return 1 / (1 + gw_exp(-x)); }

/* tanh(x) = -m / (2 + m) with m = exp(-2 |x|) - 1, which keeps its digits where x is small. */
static inline T gw_tanh(T x) {
    T twice = -2 * REAL(fabs)(x);
    twice = twice < -40 ? -40 : twice;
    T scale, q = gw_reduced(twice, &scale);
    T m = 2 * (q * scale) + (2 * scale - 1);
    return REAL(copysign)(-m / (2 + m), x);
}

static inline T gw_relu(T x) { return x < 0 ? 0 : x; }
static inline T gw_maximum(T x, T y) { return x > y || x != x ? x : y; }
static inline T gw_minimum(T x, T y) { return x < y || x != x ? x : y; }

typedef void (*Product)(const char *, const char *, const int *, const int *, const int *, const T *, const T *,
                        const int *, const T *, const int *, const T *, T *, const int *);
typedef int (*SetThreads)(int);

typedef struct {
    int64_t steps, batch, reverse, threads;
    const int64_t *sizes, *starts;
    Product product;
    SetThreads set_threads;
    const T *weight, *mask, *own;
    const T *a;                   /* [N, BLOCKS] */
    const T *initial[STATES];     /* [B, H] */
    T *states[STATES];            /* [N, H]; unless something is saved, all but the first [2, B, H] */
    T *final[STATES];             /* [B, H]; backward: the gradients of the state, in place */
    T *saved;                     /* [N, SAVED, H], or null: nothing will be differentiated */
    const T *above;               /* [N, H] gradient of the outputs */
    T *grad_a, *grad_r;           /* [N, BLOCKS] */
    T *grad_own;                  /* [threads, OWN, H] */
} Sequence;

typedef struct {
    const Sequence *seq;
    void (*rows)(const Sequence *, int64_t low, int64_t high, int thread);
    int64_t low, high;
    int thread;
} Share;

static void step(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p, T *const *n) {
    (void)a, (void)r, (void)p;
@STATE_ROWS@
@NEW_ROWS@
@STEP@
}

static void step_saving(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                        T *const *n, T *restrict saved) {
    (void)a, (void)r, (void)p, (void)saved;
@STATE_ROWS@
@NEW_ROWS@
@STEP_SAVING@
}

static void step_back(const T *const *s, const T *restrict p, const T *restrict saved, T *const *g,
                      const T *restrict above, T *restrict da, T *restrict dr, T *restrict dp) {
    (void)p, (void)saved, (void)dr, (void)dp, (void)above;
@STATE_ROWS@
@GRAD_ROWS@
@STEP_BACK@
}

static int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

/* The rows of step t whose state before is one of another step: the first of them, up to this row. */
static int64_t with_before(const Sequence *q, int64_t t) {
    if (!q->reverse) return t > 0 ? q->sizes[t] : 0;
    return t + 1 < q->steps ? q->sizes[t + 1] : 0;
}

/* Where state k of a row after step t is: of a state that nobody asks for again only two steps are kept. */
static T *state_after(const Sequence *q, int k, int64_t t, int64_t row) {
    return q->states[k] + (k == 0 || q->saved ? q->starts[t] + row : (t & 1) * q->batch + row) * H;
}

static const T *before(const Sequence *q, int k, int64_t t, int64_t row, int64_t limit) {
    if (row >= limit) return q->initial[k] + row * H;
    return state_after(q, k, q->reverse ? t + 1 : t - 1, row);
}

/* r[count, BLOCKS] = h[count, H] · W[BLOCKS, H]' */
static void times_weight(const Sequence *q, const T *h, int64_t count, T *r) {
    const int blocks = BLOCKS, rows = (int)count, width = H;
    const T one = 1, zero = 0;
    q->product("T", "N", &blocks, &rows, &width, &one, q->weight, &width, h, &width, &zero, r, &blocks);
}

static void forward_rows(const Sequence *q, int64_t low, int64_t high, int thread) {
    (void)thread;
    T *r = malloc(sizeof(T) * (size_t)(high - low) * (BLOCKS + H)), *masked = r + (high - low) * BLOCKS;
    if (!r) abort();
    for (int64_t i = 0; i < q->steps; i++) {
        int64_t t = q->reverse ? q->steps - 1 - i : i, end = at_most(high, q->sizes[t]);
        int64_t limit = with_before(q, t);
        /* Rows that go on from another step, then those that begin here. */
        for (int64_t first = low, next; USES_HIDDEN && first < end; first = next) {
            next = first < limit ? at_most(end, limit) : end;
            const T *h = before(q, 0, t, first, limit);
            if (q->mask) {
                const T *mask = q->mask + first * H;
                for (int64_t k = 0; k < (next - first) * H; k++) masked[k] = h[k] * mask[k];
                h = masked;
            }
            times_weight(q, h, next - first, r + (first - low) * BLOCKS);
        }
        for (int64_t row = low; row < end; row++) {
            int64_t at = q->starts[t] + row;
            const T *s[STATES];
            T *n[STATES];
            for (int k = 0; k < STATES; k++) {
                s[k] = before(q, k, t, row, limit);
                n[k] = state_after(q, k, t, row);
            }
            const T *a = q->a + at * BLOCKS, *rr = r + (row - low) * BLOCKS;
            if (q->saved)
                step_saving(a, rr, s, q->own, n, q->saved + at * SAVED * H);
            else
                step(a, rr, s, q->own, n);
        }
    }
    free(r);
    for (int64_t row = low; row < high; row++) {
        int64_t last = -1;
        while (last + 1 < q->steps && q->sizes[last + 1] > row) last++;
        if (q->reverse && last > 0) last = 0;
        for (int k = 0; k < STATES; k++)
            memcpy(q->final[k] + row * H, last < 0 ? q->initial[k] + row * H : state_after(q, k, last, row),
                   sizeof(T) * H);
    }
}

static void backward_rows(const Sequence *q, int64_t low, int64_t high, int thread) {
    T *through = q->mask ? malloc(sizeof(T) * (size_t)(high - low) * H) : NULL;
    T *grad_own = q->grad_own + (int64_t)thread * OWN * H;
    if (q->mask && !through) abort();
    for (int64_t i = 0; i < q->steps; i++) {
        int64_t t = q->reverse ? i : q->steps - 1 - i, end = at_most(high, q->sizes[t]);
        int64_t limit = with_before(q, t), count = end - low;
        if (count <= 0) continue;
        for (int64_t row = low; row < end; row++) {
            int64_t at = q->starts[t] + row;
            const T *s[STATES];
            T *g[STATES];
            for (int k = 0; k < STATES; k++) {
                s[k] = before(q, k, t, row, limit);
                g[k] = q->final[k] + row * H;
            }
            step_back(s, q->own, q->saved + at * SAVED * H, g, q->above + at * H, q->grad_a + at * BLOCKS,
                      q->grad_r + at * BLOCKS, grad_own);
        }
        if (!HIDDEN_GRAD) continue;
        const int width = H, rows = (int)count, blocks = BLOCKS;
        const T one = 1, zero = 0;
        const T *dr = (SHARED ? q->grad_a : q->grad_r) + (q->starts[t] + low) * BLOCKS;
        T *grad_h = q->final[0] + low * H;
        q->product("N", "N", &width, &rows, &blocks, &one, q->weight, &width, dr, &blocks, q->mask ? &zero : &one,
                   q->mask ? through : grad_h, &width);
        if (q->mask) {
            const T *mask = q->mask + low * H;
            for (int64_t k = 0; k < count * H; k++) grad_h[k] += through[k] * mask[k];
        }
    }
    free(through);
}

static void *run_share(void *pointer) {
    Share *share = pointer;
    /* Threads of its own in every product would be more than there are cores. */
    int before_that = share->seq->set_threads ? share->seq->set_threads(1) : 0;
    share->rows(share->seq, share->low, share->high, share->thread);
    if (share->seq->set_threads) share->seq->set_threads(before_that);
    return NULL;
}

/* Give every thread sequences of about as many steps in all; the calling thread works as well. */
static void share_out(const Sequence *q, void (*rows)(const Sequence *, int64_t, int64_t, int)) {
    int threads = (int)at_most(at_most(q->threads, q->batch), MAX_THREADS), started[MAX_THREADS];
    pthread_t handles[MAX_THREADS];
    Share shares[MAX_THREADS];
    int64_t total = q->steps ? q->starts[q->steps - 1] + q->sizes[q->steps - 1] : 0, done = 0, row = 0;
    int64_t length = q->steps; /* of the row; rows get shorter */
    for (int k = 0; k < threads; k++) {
        int64_t low = row;
        while (row < q->batch && (k + 1 == threads || done * threads < total * (k + 1))) {
            while (length > 0 && q->sizes[length - 1] <= row) length--;
            done += length;
            row++;
        }
        shares[k] = (Share){q, rows, low, row, k};
    }
    for (int k = 1; k < threads; k++) {
        started[k] = !pthread_create(&handles[k], NULL, run_share, &shares[k]);
        if (!started[k]) run_share(&shares[k]);
    }
    if (threads > 0) run_share(&shares[0]);
    for (int k = 1; k < threads; k++)
        if (started[k]) pthread_join(handles[k], NULL);
}

void gw_forward(const Sequence *q) { share_out(q, forward_rows); }
void gw_backward(const Sequence *q) { share_out(q, backward_rows); }
