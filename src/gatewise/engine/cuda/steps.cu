// One step of all sequences, forward or backward, between the library's products: for every cell and size.
// A block computes one row, the state of one sequence; with several models (the grid's y), the rows of a sequence are
// theirs in turn, but a model's rows of r lie together. H features, A blocks of inputs (gates, then noise), R recurrent
// products, K states, P hidden features (H unless projected), SLOTS values that are kept for the backward pass.
#define H @H@
#define HIDDEN @HIDDEN@
#define PROJECTS @PROJECTS@
#define A @A@
#define G @G@
#define R @R@
#define K @K@
#define OWN @OWN@
#define SLOTS @SLOTS@
#define ROW_SLOTS @ROW_SLOTS@
#define GATES @GATES@
#define THREADS @THREADS@
#define PER ((H + THREADS - 1) / THREADS)
#define KEPT (SLOTS * H + ROW_SLOTS)

struct Step {
    const S *a;      // [rows, A·H]: U x + b, and noise
    const S *r;      // [models, rows of each, R·H]: W h
    S *state;        // [K, batch, H]; the first is the hidden state, but where it is projected
    const T *mask;   // [batch, H] or null: the factor of h in its next product
    T *out;          // [rows, H]: the new hidden state, or what the projection is of
    T *next;         // [batch, H]: the masked hidden state as the next product reads it
    const S *own;    // [models, OWN, H]
    S *kept;         // [rows, KEPT] or null
    T *gates;        // [rows, GATES·H] or null
    T *states;       // [rows, K, H] or null: the states after the step
    long long batch;
};

struct StepBack {
    S *grad;         // [K, batch, H]: gradients of the states after the step, then of those before it
    const T *above;  // [rows, H]: gradient of the outputs; null where `grad` holds it already
    const S *own;    // [models, OWN, H]
    const S *kept;   // [rows, KEPT]
    const S *a;      // [rows, A·H], for the noise
    T *da;           // [rows, G·H]
    T *dr;           // [rows, R·H], or null where it is da
    S *grad_own;     // [batch, OWN, H], added to
    long long batch;@GATE_FIELDS@
};

DEV S combined(S x, S y, int kind) { return kind == 0 ? x + y : gw_maximum(x, y); }

// The sum (kind 0) or maximum (1) over the block's threads, in each of them.
DEV S over_block(S value, int kind) {
    SHARED
    S *parts = (S *)shared_memory;
    const int thread = threadIdx.x;
    parts[thread] = value;
    __syncthreads();
#pragma unroll
    for (int span = THREADS / 2; span > 0; span /= 2) {
        if (thread < span) parts[thread] = combined(parts[thread], parts[thread + span], kind);
        __syncthreads();
    }
    value = parts[0];
    __syncthreads();
    return value;
}

KERNEL(step_forward, Step, THREADS) {
    const long long row = (long long)blockIdx.x * gridDim.y + blockIdx.y;
    const S *a = q.a + row * A * H;
    const S *r = q.r + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * R * H;
    const S *own = q.own + (long long)blockIdx.y * OWN * H;
@STEP@
}

KERNEL(step_backward, StepBack, THREADS) {
    const long long row = (long long)blockIdx.x * gridDim.y + blockIdx.y;
    const S *a = q.a + row * A * H;
    const S *own = q.own + (long long)blockIdx.y * OWN * H;
    const S *kept = q.kept + row * KEPT;
@STEP_BACK@
}
