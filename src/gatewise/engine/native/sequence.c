/* A whole sequence of one cell, forward and backward. Generated parts stand between @ signs.

   Rows are packed as gatewise.engine.packing describes: those alive at step t are the first sizes[t] rows of
   the state, and begin at row starts[t] of what has a row per step. Threads share the sequences or, where the weights
   are large, the columns and then the rows of every step. What every step needs for itself alone lives for a chunk of
   steps: long enough for good products, short enough for the cache. */
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* Features of a step's new values, and of the hidden state h: fewer where it is projected. */
enum { H = @H@, HIDDEN = @HIDDEN@, PROJECTS = @PROJECTS@ };
enum { GATES = @GATES@, RECURRENT = @RECURRENT@, STATES = @STATES@, OWN = @OWN@, NOISE = @NOISE@ };
/* What is saved of a row: values of each feature, then values of the row. */
enum { SAVED = @SAVED@, KEPT = @KEPT@ };
enum { SHOWN = @SHOWN@, BLOCKS = GATES * H, R_BLOCKS = RECURRENT * H };
/* Whether the step knows a and r by their sum alone, which then comes as r; whether it looks at W h; whether gradients
   reach a and r; whether those two are one and the same. */
enum { SUMMED = @SUMMED@, USES_HIDDEN = @USES_HIDDEN@, A_GRAD = @A_GRAD@, R_GRAD = @R_GRAD@, SHARED = @SHARED@ };
enum { FEW_ROWS = 8 };

typedef struct {
    void (*pack)(const T *, int64_t, int64_t, int64_t, int64_t, T *);
    void (*multiply)(const T *, int64_t, const T *, int64_t, const T *, int64_t, const T *, int64_t, int64_t, int64_t,
                     const T *, int64_t, T *, int64_t, int64_t);
    void (*dots)(const T *, int64_t, int64_t, const T *, int64_t, int64_t, const T *, int64_t, T *, int64_t);
    void (*outer)(const T *, int64_t, int64_t, const T *, int64_t, int64_t, int64_t, T *, int64_t);
} Products;

/* What Python hands over, word for word; a pointer is null where there is no such thing. */
typedef struct {
    int64_t steps, batch, reverse, threads, inputs;
    int64_t together;     /* whether the threads share every step's columns, and not the sequences */
    int64_t keeps_states; /* whether the backward pass will ask for every state */
    const int64_t *sizes, *starts;
    OpenMP omp;
    Products products;
    const T *x;                                          /* [N, inputs] */
    const T *weight_input, *weight_hidden, *projection;  /* [BLOCKS, inputs], [R_BLOCKS, HIDDEN], [HIDDEN, H] */
    const T *bias, *mask, *noise, *own;                  /* [BLOCKS], [B, HIDDEN], [N, NOISE, H], [OWN, H] */
    const T *initial[STATES];                            /* [B, H], the first [B, HIDDEN] */
    T *states[STATES]; /* [N, H], the first [N, HIDDEN]; unless kept, all but the first [2, B, H] */
    T *final[STATES];  /* as initial; backward: the gradients of the state, in place */
    T *made;           /* [N, H] what is projected, kept like the states */
    T *saved;          /* [N, KEPT], or null: not differentiated, or computed again from the states */
    T *shown;          /* [N, SHOWN, H] */
    /* Of the backward pass, of which those with [threads, ...] are sums that begin at 0. */
    const T *above; /* [N, HIDDEN] gradient of the outputs */
    T *grad_x;      /* [N, inputs] */
    T *grad_input, *grad_hidden, *grad_projection, *grad_bias, *grad_own;
} Sequence;

/* A weight matrix [n, k] as the products want it. */
typedef struct {
    const T *plain;
    T *packed;
    int64_t n, k;
} Matrix;

typedef struct {
    const Sequence *seq;
    /* U, W and P for the forward pass; for the backward pass also their transposes. */
    Matrix input, hidden, projection, input_back, hidden_back, projection_back;
} Weights;

/* One thread's sequences [low, high) and its memory; or those of all, of which it takes a part in every step. */
typedef struct {
    const Sequence *seq;
    const Weights *weights;
    int64_t low, high;
    int64_t sums; /* which of the sums of [threads] are its own */
    int64_t part, parts;
    T *memory;
    int64_t *at; /* [steps + 1] rows of this share before each step */
    Barrier *barrier;
} Share;

/* Bring what is saved of a row into the first cache, to be read or written (1) soon. Its order is none that the
   processor foresees; long rows it does foresee, and they would fill that cache. */
#define FETCH(row, written)                                                                               \
    for (int64_t k_ = 0; KEPT <= 2048 && k_ < KEPT; k_ += 64 / (int64_t)sizeof(T)) __builtin_prefetch(row + k_, written)

static void step(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                 const T *restrict z, T *const *n) {
    (void)a, (void)r, (void)s, (void)p, (void)z;
@STATE_ROWS@
@NEW_ROWS@
@STEP@
}

static void step_saving(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                        const T *restrict z, T *const *n, T *restrict saved) {
    (void)a, (void)r, (void)s, (void)p, (void)z, (void)saved;
@STATE_ROWS@
@NEW_ROWS@
@STEP_SAVING@
}

static void step_showing(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                         const T *restrict z, T *const *n, T *restrict shown) {
    (void)a, (void)r, (void)s, (void)p, (void)z, (void)shown;
@STATE_ROWS@
@NEW_ROWS@
@STEP_SHOWING@
}

/* `above` joins the gradient of the first state; where that is projected, it is all of it. */
static void step_back(const T *const *s, const T *const *n, const T *restrict p, const T *restrict z,
                      const T *restrict saved, T *const *g, const T *restrict above, T *restrict da, T *restrict dr,
                      T *restrict dp) {
    (void)s, (void)n, (void)p, (void)z, (void)saved, (void)above, (void)da, (void)dr, (void)dp;
@STATE_ROWS@
@KEPT_ROWS@
@GRAD_ROWS@
@STEP_BACK@
}

/* Rows of our own are whole cache lines long, and an odd number of them: else those of many a k would share a set. */
static int64_t padded(int64_t width) { return (width + 31) / 32 * 32 + 16; }

/* The rows of step t whose state before is one of another step: the first of them, up to this row. */
static int64_t with_before(const Sequence *q, int64_t t) {
    if (!q->reverse) return t > 0 ? q->sizes[t] : 0;
    return t + 1 < q->steps ? q->sizes[t + 1] : 0;
}

static int64_t width_of(int k) { return k == 0 ? HIDDEN : H; }

/* Where state k of a row after step t is: of a state that nobody asks for again only two steps are kept. */
static T *state_after(const Sequence *q, int k, int64_t t, int64_t row) {
    return q->states[k] + (k == 0 || q->keeps_states ? q->starts[t] + row : (t & 1) * q->batch + row) * width_of(k);
}

static const T *before(const Sequence *q, int k, int64_t t, int64_t row, int64_t limit) {
    if (row >= limit) return q->initial[k] + row * width_of(k);
    return state_after(q, k, q->reverse ? t + 1 : t - 1, row);
}

/* This thread's part of what is numbered from low to high, in whole units but for the end. */
typedef struct {
    int64_t from, to;
} Range;

static Range part_of(const Share *share, int64_t low, int64_t high, int64_t unit) {
    int64_t units = (high - low + unit - 1) / unit;
    int64_t first = units * share->part / share->parts, next = units * (share->part + 1) / share->parts;
    return (Range){low + first * unit, at_most(low + next * unit, high)};
}

/* Until every thread has done its part. */
static void meet(const Share *share) {
    if (share->parts > 1) wait_for_all(share->barrier, (int)share->parts);
}

/* This thread's columns of x w' and, with a second pair, of x2 w2' besides. */
static void times_both(const Share *share, const Matrix *w, const T *x, int64_t ldx, const Matrix *w2, const T *x2,
                       int64_t ldx2, int64_t rows, const T *init, int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    const Products *products = &share->seq->products;
    const Range mine = part_of(share, 0, w->n, 2 * L);
    if (mine.to <= mine.from) return;
    if (init) init += mine.from;
    out += mine.from;
    if (w->packed)
        products->multiply(x, ldx, w->packed + mine.from * w->k, w->k, x2, ldx2,
                           w2 ? w2->packed + mine.from * w2->k : NULL, w2 ? w2->k : 0, rows, mine.to - mine.from, init,
                           ldi, out, ldo, turned);
    else
        products->dots(x, ldx, rows, w->plain + mine.from * w->k, mine.to - mine.from, w->k, init, ldi, out, ldo);
}

static void times(const Share *share, const Matrix *w, const T *x, int64_t ldx, int64_t rows, const T *init,
                  int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    times_both(share, w, x, ldx, NULL, NULL, 0, rows, init, ldi, out, ldo, turned);
}

/* Steps [from, to) in the order of time, with `rows` rows of this share. */
typedef struct {
    int64_t from, to, rows;
} Chunk;

/* Weights that outgrow the second cache want more rows to be read for. */
static int64_t rows_wanted(const Share *share) {
    return (int64_t)sizeof(T) * BLOCKS * (HIDDEN + share->seq->inputs) > 2 << 20 ? 512 : 128;
}

/* As many at the most, unless a single step has more. */
static int64_t rows_of_chunk(const Share *share) {
    return at_most(rows_wanted(share) + share->high - share->low, share->at[share->seq->steps]);
}

/* The chunk after (for the later steps: before) one that ended at step `next`; false past the last. */
static int next_chunk(const Share *share, int backwards, int64_t next, Chunk *chunk) {
    int64_t steps = share->seq->steps, most = rows_wanted(share), to = next, *at = share->at;
    if (backwards ? next <= 0 : next >= steps) return 0;
    do
        to += backwards ? -1 : 1;
    while (backwards ? to > 0 && at[next] - at[to - 1] <= most : to < steps && at[to + 1] - at[next] <= most);
    *chunk = backwards ? (Chunk){to, next, at[next] - at[to]} : (Chunk){next, to, at[to] - at[next]};
    return 1;
}

static int64_t end_of(const Share *share, int64_t t) { return at_most(share->high, share->seq->sizes[t]); }

/* This thread's rows of step t. */
static Range rows_at(const Share *share, int64_t t) { return part_of(share, share->low, end_of(share, t), 1); }

/* Copy the chunk's rows of something with a row per step to `to`, one behind another. */
static const T *gather(const Share *share, const Chunk *chunk, const T *from, int64_t width, T *to, int64_t ld) {
    for (int64_t t = chunk->from; t < chunk->to; t++) {
        const Range rows = rows_at(share, t);
        for (int64_t row = rows.from; row < rows.to; row++) {
            T *target = to + (share->at[t] - share->at[chunk->from] + row - share->low) * ld;
            memcpy(target, from + (share->seq->starts[t] + row) * width, sizeof(T) * (size_t)width);
            memset(target + width, 0, sizeof(T) * (size_t)(ld - width));
        }
    }
    meet(share);
    return to;
}

/* Whether the chunk's rows stand one behind another in what has a row per step. */
static int whole(const Share *share) { return share->low == 0 && share->high == share->seq->batch; }

/* x U' + b for the rows of a chunk, one behind another. */
static void input_part(const Share *share, const Chunk *chunk, T *copied, T *a) {
    const Sequence *q = share->seq;
    const T *x = q->x + q->starts[chunk->from] * q->inputs;
    int64_t ld = q->inputs;
    if (!whole(share)) x = gather(share, chunk, q->x, q->inputs, copied, ld = padded(q->inputs));
    times(share, &share->weights->input, x, ld, chunk->rows, q->bias, 0, a, padded(BLOCKS), 0);
}

/* W h, where the step knows no more, with the input's part added. */
static void recurrent_part(const Share *share, const T *a, const T *h, int64_t ldh, int64_t rows, T *r,
                           int64_t turned) {
    times(share, &share->weights->hidden, h, ldh, rows, SUMMED ? a : NULL, padded(BLOCKS), r, padded(R_BLOCKS),
          turned);
}

/* h[count, HIDDEN] before step t, from row `first` on, as W sees it. */
static const T *masked(const Sequence *q, const T *h, int64_t first, int64_t count, T *to) {
    if (!q->mask) return h;
    const T *mask = q->mask + first * HIDDEN;
    for (int64_t k = 0; k < count * HIDDEN; k++) to[k] = h[k] * mask[k];
    return to;
}

static T *reserve(int64_t numbers) {
    size_t bytes = (sizeof(T) * (size_t)numbers + 63) / 64 * 64;
    return aligned_alloc(64, bytes ? bytes : 64);
}

/* Where a share's rows begin, and its memory; whether there is enough. */
static int prepare(Share *share, int64_t (*size)(const Share *)) {
    const Sequence *q = share->seq;
    int64_t *at = share->at = malloc(sizeof(int64_t) * (size_t)(q->steps + 1));
    if (!at) return 0;
    at[0] = 0;
    for (int64_t t = 0; t < q->steps; t++)
        at[t + 1] = at[t] + (q->sizes[t] > share->low ? at_most(share->high, q->sizes[t]) - share->low : 0);
    share->memory = reserve(size(share));
    return share->memory != NULL;
}

/* Give every thread sequences of about as many steps in all; the calling thread works as well. Returns 0, or 1
   where there is too little memory; nothing has been computed then. */
static int share_out(const Sequence *q, const Weights *weights, void (*rows)(void *), int64_t (*size)(const Share *)) {
    int threads = (int)at_most(at_most(q->threads, q->batch), MAX_THREADS), failed = 0;
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
        shares[k] = (Share){.seq = q, .weights = weights, .low = low, .high = row, .sums = k, .parts = 1};
        failed |= !prepare(&shares[k], size);
    }
    if (!failed) run_pieces(&q->omp, q->threads, rows, shares, sizeof *shares, threads);
    for (int k = 0; k < threads; k++) free(shares[k].memory), free(shares[k].at);
    return failed;
}

/* Work on all sequences that every thread does a part of. */
typedef struct {
    const Share *share;
    void (*rows)(void *);
    int next;
} Joint;

static void take_part(void *pointer) {
    Joint *joint = pointer;
    Share mine = *joint->share;
    const OpenMP *omp = &mine.seq->omp;
    mine.parts = omp->parallel ? omp->members() : 1;
    mine.part = __atomic_fetch_add(&joint->next, 1, __ATOMIC_RELAXED);
    joint->rows(&mine);
}

/* Let all threads do a part of every step's columns, then of its rows: each has few of the weights to read, again and
   again. Returns as share_out does. */
static int do_together(const Sequence *q, const Weights *weights, void (*rows)(void *), int64_t (*size)(const Share *)) {
    Barrier barrier = {0, 0};
    Share share = {.seq = q, .weights = weights, .low = 0, .high = q->batch, .parts = 1, .barrier = &barrier};
    Joint joint = {&share, rows, 0};
    int failed = !prepare(&share, size);
    if (!failed && q->omp.parallel)
        q->omp.parallel(take_part, &joint, (unsigned)q->threads, 0);
    else if (!failed)
        take_part(&joint);
    free(share.memory), free(share.at);
    return failed;
}

/* The packed copy of one matrix: from where, and how its elements stand there. */
typedef struct {
    Matrix *matrix;
    const T *from;
    int64_t n, k, wn, wk;
} Packing;

/* Some columns of a packed copy. */
typedef struct {
    const Sequence *q;
    Packing packing;
    T *to;
} Panels;

static void pack_panels(void *pointer) {
    const Panels *p = pointer;
    p->q->products.pack(p->packing.from, p->packing.wn, p->packing.wk, p->packing.n, p->packing.k, p->to);
}

/* Pack the matrices that are there; returns their memory, or null where there is too little. */
static T *pack_all(const Sequence *q, const Packing *packings, int count) {
    int64_t size = 0;
    for (int i = 0; i < count; i++) size += packings[i].from ? (packings[i].n + 15) / 16 * 16 * packings[i].k : 0;
    T *memory = reserve(size), *next = memory;
    /* A piece for each thread of each matrix, of whole panels. */
    Panels *pieces = malloc(sizeof(Panels) * (size_t)(count * q->threads));
    int made = 0;
    for (int i = 0; memory && pieces && i < count; i++) {
        Packing p = packings[i];
        if (!p.from) continue;
        *p.matrix = (Matrix){p.from, next, p.n, p.k};
        int64_t columns = (p.n / q->threads + 16) / 16 * 16;
        for (int64_t n = 0; n < p.n; n += columns) {
            pieces[made++] = (Panels){q, {NULL, p.from + n * p.wn, at_most(columns, p.n - n), p.k, p.wn, p.wk}, next};
            next += (pieces[made - 1].packing.n + 15) / 16 * 16 * p.k;
        }
    }
    if (memory && pieces) run_pieces(&q->omp, q->threads, pack_panels, pieces, sizeof *pieces, made);
    if (!pieces) free(memory), memory = NULL;
    free(pieces);
    return memory;
}
