/* A whole sequence of one cell, forward and backward. Generated parts are between @ signs.

   Rows are packed as gatewise.engine.packing describes: the sequences running at step t are the first sizes[t] rows of
   the state, and their rows begin at starts[t] in every array with a row per step. The threads divide the sequences
   among them or, where the weights are large, the columns and then the rows of every step. What only one step needs
   is kept for a chunk of steps: enough for efficient products, few enough for the cache. */
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* Features of what the step computes, and of the hidden state h, which differ where that is projected. */
enum { H = @H@, HIDDEN = @HIDDEN@, PROJECTS = @PROJECTS@ };
enum { GATES = @GATES@, RECURRENT = @RECURRENT@, STATES = @STATES@, OWN = @OWN@, NOISE = @NOISE@ };
/* What is saved of a row: values per feature, then values for the row; and how many numbers that is. */
enum { SAVED = @SAVED@, SAVED_SIZE = @SAVED_SIZE@ };
enum { RETURNED = @RETURNED@, BLOCKS = GATES * H, R_BLOCKS = RECURRENT * H };
/* Whether the step uses a and r only in their sum, which is then passed as r; whether it uses W h; whether a and r have
   gradients; whether these two are the same. */
enum { SUMMED = @SUMMED@, USES_HIDDEN = @USES_HIDDEN@, A_GRAD = @A_GRAD@, R_GRAD = @R_GRAD@, SHARED = @SHARED@ };
/* Of so few rows in all, no product is worth packing its weights for. */
enum { FEW_ROWS = 16 };

typedef struct {
    void (*pack)(const T *, int64_t, int64_t, int64_t, int64_t, T *);
    void (*multiply)(const T *, int64_t, const T *, int64_t, const T *, int64_t, const T *, int64_t, int64_t, int64_t,
                     const T *, int64_t, T *, int64_t, int64_t);
    void (*dots)(const T *, int64_t, int64_t, const T *, int64_t, int64_t, const T *, int64_t, T *, int64_t);
    void (*mix)(const T *, int64_t, int64_t, const T *, int64_t, int64_t, int64_t, const T *, int64_t, T *, int64_t);
    void (*outer)(const T *, int64_t, int64_t, const T *, int64_t, int64_t, int64_t, T *, int64_t, int64_t);
} Products;

/* What Python passes, one word per field; a pointer is null where there is no such array. */
typedef struct {
    int64_t steps, batch, reverse, threads, inputs;
    int64_t together;     /* whether the threads divide the columns of every step, and not the sequences */
    int64_t rows_wanted; /* of a chunk of steps */
    int64_t plain; /* whether there are too few rows to pack the weights of a step for */
    int64_t keeps_states; /* whether every state is kept, for the backward pass or the caller */
    int64_t to_initial;   /* backward: whether the gradient of the initial state is wanted */
    const int64_t *sizes, *starts;
    OpenMP omp;
    Products products;
    const T *x;                                          /* [N, inputs] */
    const T *weight_input, *weight_hidden, *projection;  /* [BLOCKS, inputs], [R_BLOCKS, HIDDEN], [HIDDEN, H] */
    const T *bias, *mask, *noise, *own;                  /* [BLOCKS], [B, HIDDEN], [N, NOISE, H], [OWN, H] */
    const T *initial[STATES];                            /* [B, H], the first [B, HIDDEN] */
    T *states[STATES]; /* [N, H], the first [N, HIDDEN]; unless kept, all but the first [2, B, H] */
    T *final[STATES];  /* as initial; backward: the gradients of the state, in place */
    T *unprojected;    /* [N, H] what the projection is applied to, kept like the states */
    T *saved;          /* [N, SAVED_SIZE], or null: not differentiated, or recomputed from the states */
    T *returned;       /* [N, RETURNED, H] gates for the caller */
    /* For the backward pass; those of b and own parameters are sums for each thread that start at 0. */
    const T *above; /* [N, HIDDEN] gradient of the outputs */
    T *grad_x;      /* [N, inputs] */
    T *grad_input, *grad_hidden, *grad_projection, *grad_bias, *grad_own;@GATE_FIELDS@
} Sequence;

/* A weight matrix [n, k], packed for the products or else plain: rows of k, or rows of n where it is `turned`. */
typedef struct {
    const T *plain;
    T *packed;
    int64_t n, k, turned;
} Matrix;

typedef struct {
    const Sequence *seq;
    /* U, W and P for the forward pass; for the backward pass also their transposes. */
    Matrix input, hidden, projection, input_back, hidden_back, projection_back;
} Weights;

/* One thread's sequences [low, high) and its memory; or all sequences, of which it does one part in every step. */
typedef struct {
    const Sequence *seq;
    const Weights *weights;
    int64_t low, high;
    int64_t sums; /* which of the sums for each thread it adds to */
    int64_t part, parts;
    T *memory;
    int64_t *at; /* [steps + 1] number of rows of this share before each step */
    Barrier *barrier;
} Share;

/* Fetch what is saved of a row into the first cache, to be read (0) or written (1) soon: the processor does not predict
   this order of access. It does within long rows, and those would fill the cache. */
#define FETCH(row, written)                                                                               \
    for (int64_t k_ = 0; SAVED_SIZE <= 2048 && k_ < SAVED_SIZE; k_ += 64 / (int64_t)sizeof(T)) \
        __builtin_prefetch(row + k_, written)

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

static void step_returning(const T *restrict a, const T *restrict r, const T *const *s, const T *restrict p,
                         const T *restrict z, T *const *n, T *restrict returned) {
    (void)a, (void)r, (void)s, (void)p, (void)z, (void)returned;
@STATE_ROWS@
@NEW_ROWS@
@STEP_RETURNING@
}@GATE_STEP@

/* `above` is added to the gradient of the first state; where that is projected, it is the whole gradient. */
static void step_back(const T *const *s, const T *const *n, const T *restrict p, const T *restrict z,
                      const T *restrict saved, T *const *g, const T *restrict above, T *restrict da, T *restrict dr,
                      T *restrict dp@GATE_PARAMETERS@) {
    (void)s, (void)n, (void)p, (void)z, (void)saved, (void)above, (void)da, (void)dr, (void)dp;
@STATE_ROWS@
@AFTER_ROWS@
@GRAD_ROWS@
@STEP_BACK@
}

/* Rows of temporary arrays are an odd number of cache lines long, so that they spread over the sets of the cache. */
static int64_t padded(int64_t width) { return (width + 31) / 32 * 32 + 16; }

/* The first rows of step t, up to this one, take their state from another step; the others start here. */
static int64_t with_before(const Sequence *q, int64_t t) {
    if (!q->reverse) return t > 0 ? q->sizes[t] : 0;
    return t + 1 < q->steps ? q->sizes[t + 1] : 0;
}

static int64_t width_of(int k) { return k == 0 ? HIDDEN : H; }

/* The place of state k of a row after step t; of a state that is not kept, there are only the last two steps. */
static T *state_after(const Sequence *q, int k, int64_t t, int64_t row) {
    return q->states[k] + (k == 0 || q->keeps_states ? q->starts[t] + row : (t & 1) * q->batch + row) * width_of(k);
}

static const T *before(const Sequence *q, int k, int64_t t, int64_t row, int64_t limit) {
    if (row >= limit) return q->initial[k] + row * width_of(k);
    return state_after(q, k, q->reverse ? t + 1 : t - 1, row);
}

/* This thread's part of the numbers from low to high, in whole units except at the end. */
typedef struct {
    int64_t from, to;
} Range;

static Range part_of(const Share *share, int64_t low, int64_t high, int64_t unit) {
    int64_t units = (high - low + unit - 1) / unit;
    int64_t first = units * share->part / share->parts, next = units * (share->part + 1) / share->parts;
    return (Range){low + first * unit, at_most(low + next * unit, high)};
}

/* Wait until every thread has done its part. */
static void wait_for_team(const Share *share) {
    if (share->parts > 1) wait_for_all(share->barrier, (int)share->parts);
}

/* This thread's columns of x w' and, with a second pair, of x w' + x2 w2'. */
static void times_both(const Share *share, const Matrix *w, const T *x, int64_t ldx, const Matrix *w2, const T *x2,
                       int64_t ldx2, int64_t rows, const T *init, int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    const Products *products = &share->seq->products;
    const Range columns = part_of(share, 0, w->n, 2 * L);
    const int64_t first = columns.from, count = columns.to - first;
    if (count <= 0) return;
    if (init) init += first;
    out += first;
    if (w->packed)
        products->multiply(x, ldx, w->packed + first * w->k, w->k, x2, ldx2, w2 ? w2->packed + first * w2->k : NULL,
                           w2 ? w2->k : 0, rows, count, init, ldi, out, ldo, turned);
    else if (w->turned)
        products->mix(x, ldx, rows, w->plain + first, w->n, count, w->k, init, ldi, out, ldo);
    else
        products->dots(x, ldx, rows, w->plain + first * w->k, count, w->k, init, ldi, out, ldo);
}

static void times(const Share *share, const Matrix *w, const T *x, int64_t ldx, int64_t rows, const T *init,
                  int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    times_both(share, w, x, ldx, NULL, NULL, 0, rows, init, ldi, out, ldo, turned);
}

/* Steps [from, to) in order of time, with `rows` rows of this share. */
typedef struct {
    int64_t from, to, rows;
} Chunk;

/* The most rows that a chunk can have: a single step may have more than is wanted. */
static int64_t rows_of_chunk(const Share *share) {
    return at_most(share->seq->rows_wanted + share->high - share->low, share->at[share->seq->steps]);
}

/* The chunk that starts at step `next` (backwards: that ends there); false past the last. */
static int next_chunk(const Share *share, int backwards, int64_t next, Chunk *chunk) {
    int64_t steps = share->seq->steps, most = share->seq->rows_wanted, to = next, *at = share->at;
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

/* Copy this share's rows in a chunk, from an array with a row per step, to consecutive rows of `to`. */
static const T *gather(const Share *share, const Chunk *chunk, const T *from, int64_t width, T *to, int64_t ld) {
    for (int64_t t = chunk->from; t < chunk->to; t++) {
        const Range rows = rows_at(share, t);
        for (int64_t row = rows.from; row < rows.to; row++) {
            T *target = to + (share->at[t] - share->at[chunk->from] + row - share->low) * ld;
            memcpy(target, from + (share->seq->starts[t] + row) * width, sizeof(T) * (size_t)width);
            memset(target + width, 0, sizeof(T) * (size_t)(ld - width));
        }
    }
    wait_for_team(share);
    return to;
}

/* Whether a chunk's rows are consecutive in arrays with a row per step. */
static int whole(const Share *share) { return share->low == 0 && share->high == share->seq->batch; }

/* x U' + b for the rows of a chunk, in consecutive rows. */
static void input_part(const Share *share, const Chunk *chunk, T *copied, T *a) {
    const Sequence *q = share->seq;
    const T *x = q->x + q->starts[chunk->from] * q->inputs;
    int64_t ld = q->inputs;
    if (!whole(share)) x = gather(share, chunk, q->x, q->inputs, copied, ld = padded(q->inputs));
    times(share, &share->weights->input, x, ld, chunk->rows, q->bias, 0, a, padded(BLOCKS), 0);
}

/* W h; with the input's part added where the step uses only their sum. */
static void recurrent_part(const Share *share, const T *a, const T *h, int64_t ldh, int64_t rows, T *r,
                           int64_t turned) {
    times(share, &share->weights->hidden, h, ldh, rows, SUMMED ? a : NULL, padded(BLOCKS), r, padded(R_BLOCKS),
          turned);
}

/* h[count, HIDDEN] from row `first` on, times the state mask. */
static const T *masked(const Sequence *q, const T *h, int64_t first, int64_t count, T *to) {
    if (!q->mask) return h;
    const T *mask = q->mask + first * HIDDEN;
    for (int64_t k = 0; k < count * HIDDEN; k++) to[k] = h[k] * mask[k];
    return to;
}

/* Ask for large pages for large memory: getting each small one for the first time takes as long as filling it. */
static void in_large_pages(T *memory, int64_t numbers) {
    (void)memory, (void)numbers;
#if defined(__linux__)
    uintptr_t begin = ((uintptr_t)memory + 4095) & ~(uintptr_t)4095, end = (uintptr_t)(memory + numbers);
    if (memory && end > begin + (4 << 20)) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
}

static T *reserve(int64_t numbers) {
    size_t bytes = (sizeof(T) * (size_t)numbers + 63) / 64 * 64;
    T *memory = aligned_alloc(64, bytes ? bytes : 64);
    in_large_pages(memory, numbers);
    return memory;
}

/* Fill in where a share's rows begin, and its memory; false where there is too little memory. */
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

/* Divide the sequences among the threads, to about the same number of steps each; the calling thread works too. Returns
   0, or 1 where there is too little memory; then nothing has been computed. */
static int share_out(const Sequence *q, const Weights *weights, void (*rows)(void *), int64_t (*size)(const Share *)) {
    int threads = (int)at_most(at_most(q->threads, q->batch), MAX_THREADS), failed = 0;
    Share shares[MAX_THREADS];
    int64_t total = q->steps ? q->starts[q->steps - 1] + q->sizes[q->steps - 1] : 0, done = 0, row = 0;
    int64_t length = q->steps; /* of the row; never longer than that of the row before */
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

/* Work on all sequences, of which every thread does a part. */
typedef struct {
    const Share *share;
    void (*rows)(void *);
    int next;
} Joint;

static void take_part(void *pointer) {
    Joint *joint = pointer;
    Share part = *joint->share;
    const OpenMP *omp = &part.seq->omp;
    part.parts = omp->parallel ? omp->members() : 1;
    part.part = __atomic_fetch_add(&joint->next, 1, __ATOMIC_RELAXED);
    joint->rows(&part);
}

/* Let every thread do some columns, then some rows of every step: each reads only its few weights, again and again.
   Returns like share_out. */
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

/* A matrix to find, its source, and the strides there; whether it is packed. */
typedef struct {
    Matrix *matrix;
    const T *from;
    int64_t n, k, wn, wk, packs;
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

/* Fill in the matrices that are given; returns the memory of packed ones, or null where there is too little. */
static T *pack_all(const Sequence *q, const Packing *packings, int count) {
    int64_t size = 0;
    for (int i = 0; i < count; i++) size += packings[i].from && packings[i].packs ? (packings[i].n + 15) / 16 * 16 * packings[i].k : 0;
    T *memory = reserve(size), *next = memory;
    /* One piece of each matrix per thread, of whole panels. */
    Panels *pieces = malloc(sizeof(Panels) * (size_t)(count * q->threads));
    int filled = 0;
    for (int i = 0; memory && pieces && i < count; i++) {
        Packing p = packings[i];
        if (!p.from) continue;
        *p.matrix = (Matrix){p.from, p.packs ? next : NULL, p.n, p.k, p.wk != 1};
        if (!p.packs) continue;
        int64_t columns = (p.n / q->threads + 16) / 16 * 16;
        for (int64_t n = 0; n < p.n; n += columns) {
            pieces[filled++] = (Panels){q, {NULL, p.from + n * p.wn, at_most(columns, p.n - n), p.k, p.wn, p.wk, 1}, next};
            next += (pieces[filled - 1].packing.n + 15) / 16 * 16 * p.k;
        }
    }
    if (memory && pieces) run_pieces(&q->omp, q->threads, pack_panels, pieces, sizeof *pieces, filled);
    if (!pieces) free(memory), memory = NULL;
    free(pieces);
    return memory;
}

/* A whole sequence, run by the thread that takes it. */
typedef struct {
    const Sequence *seq;
    int (*run)(const Sequence *);
    int failed;
} Model;

static void run_model(void *pointer) {
    Model *model = pointer;
    model->failed = model->run(model->seq);
}

/* Run several models, up to `threads` of them at a time. Returns 0, or 1 where there was too little memory. */
static int run_models(const Sequence *sequences, int count, int threads, int (*run)(const Sequence *)) {
    Model *models = malloc(sizeof(Model) * (size_t)count);
    if (!models) return 1;
    int failed = 0;
    for (int k = 0; k < count; k++) models[k] = (Model){sequences + k, run, 0};
    run_pieces(&sequences->omp, threads, run_model, models, sizeof *models, count);
    for (int k = 0; k < count; k++) failed |= models[k].failed;
    free(models);
    return failed;
}
