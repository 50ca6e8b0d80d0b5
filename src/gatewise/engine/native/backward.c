/* The backward pass. */

/* The memory of a share in the backward pass: for each row of a chunk, then for one step. */
typedef struct {
    T *a, *r, *x, *h, *dx, *dh, *unprojected, *saved, *unused; /* a and r are replaced by their gradients */
    T *through, *dm;
} Backward;

static int64_t lay_out(const Share *share, T *memory, Backward *b) {
    const Sequence *q = share->seq;
    const int recomputes = !q->saved;
    int64_t chunk = rows_of_chunk(share), rows = share->high - share->low, used = 0;
    struct {
        T **where;
        int64_t size;
    } parts[] = {
        {&b->a, chunk * padded(BLOCKS)},
        {&b->r, SHARED && !recomputes ? 0 : chunk * padded(R_BLOCKS)},
        {&b->x, chunk * padded(q->inputs)},
        {&b->h, chunk * padded(HIDDEN)},
        {&b->dx, chunk * q->inputs},
        {&b->dh, PROJECTS ? chunk * padded(HIDDEN) : 0},
        {&b->unprojected, PROJECTS ? chunk * padded(H) : 0},
        {&b->saved, recomputes ? chunk * SAVED_SIZE : 0},
        {&b->unused, recomputes ? STATES * H * (q->together ? q->threads : 1) : 0},
        {&b->through, rows * HIDDEN},
        {&b->dm, PROJECTS ? rows * H : 0},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].where = memory ? memory + used : NULL;
        used += (parts[i].size + 15) / 16 * 16;
    }
    return used;
}

/* The chunk's h before each step, times the state mask. */
static void gather_before(const Share *share, const Chunk *chunk, T *to) {
    const Sequence *q = share->seq;
    for (int64_t t = chunk->from; t < chunk->to; t++) {
        const int64_t limit = with_before(q, t), first = share->at[t] - share->at[chunk->from] - share->low;
        const Range rows = rows_at(share, t);
        for (int64_t row = rows.from; row < rows.to; row++) {
            T *target = to + (first + row) * padded(HIDDEN);
            const T *h = before(q, 0, t, row, limit);
            const T *seen = masked(q, h, row, 1, target);
            if (seen == h) memcpy(target, h, sizeof(T) * HIDDEN);
            memset(target + HIDDEN, 0, sizeof(T) * (size_t)(padded(HIDDEN) - HIDDEN));
        }
    }
    wait_for_team(share);
}

/* Recompute what the forward pass would have saved, from the states before each step: all steps of the chunk at once. */
static void recompute(const Share *share, const Chunk *chunk, const Backward *b) {
    const Sequence *q = share->seq;
    input_part(share, chunk, b->x, b->a);
    if (USES_HIDDEN) recurrent_part(share, b->a, b->h, padded(HIDDEN), chunk->rows, b->r, 0);
    wait_for_team(share);
    for (int64_t t = chunk->from; t < chunk->to; t++) {
        const Range rows = rows_at(share, t);
        for (int64_t row = rows.from; row < rows.to; row++) {
            int64_t local = share->at[t] - share->at[chunk->from] + row - share->low;
            const T *s[STATES];
            T *n[STATES];
            for (int k = 0; k < STATES; k++) {
                s[k] = before(q, k, t, row, with_before(q, t));
                n[k] = b->unused + (share->part * STATES + k) * H;
            }
            step_saving(b->a + local * padded(BLOCKS), b->r + local * padded(R_BLOCKS), s, q->own,
                        q->noise + (q->starts[t] + row) * NOISE * H, n, b->saved + local * SAVED_SIZE);
        }
    }
}

/* Step t of the backward pass; `local` is its first row in the chunk. */
static void back_through(const Share *share, const Backward *b, int64_t t, int64_t local) {
    const Sequence *q = share->seq;
    const int64_t low = share->low, end = end_of(share, t), count = end - low, limit = with_before(q, t);
    const Range rows = rows_at(share, t), columns = part_of(share, 0, HIDDEN, 2 * L);
    T *grad_h = q->final[0] + low * HIDDEN;
    if (PROJECTS) {
        T *dh = b->dh + local * padded(HIDDEN);
        for (int64_t row = rows.from - low; row < rows.to - low; row++) {
            const T *above = q->above + (q->starts[t] + low + row) * HIDDEN;
            for (int64_t k = 0; k < HIDDEN; k++) {
                dh[row * padded(HIDDEN) + k] = grad_h[row * HIDDEN + k] + above[k];
                grad_h[row * HIDDEN + k] = 0;
            }
        }
        wait_for_team(share);
        times(share, &share->weights->projection_back, dh, padded(HIDDEN), count, NULL, 0, b->dm, H, t & 1);
        wait_for_team(share);
    }
    for (int64_t row = rows.from; row < rows.to; row++) {
        int64_t at = q->starts[t] + row, here = local + row - low;
        const T *s[STATES], *n[STATES];
        T *g[STATES];
        for (int k = 0; k < STATES; k++) {
            s[k] = before(q, k, t, row, limit);
            n[k] = PROJECTS && k == 0 ? q->unprojected + at * H : state_after(q, k, t, row);
            g[k] = q->final[k] + row * width_of(k);
        }@STATES_ABOVE@
        if (q->saved && row + 1 < rows.to) FETCH(q->saved + (at + 1) * SAVED_SIZE, 0);
        const T *saved = q->saved ? q->saved + at * SAVED_SIZE : b->saved + here * SAVED_SIZE;
        step_back(s, n, q->own, q->noise + at * NOISE * H, saved, g,
                  PROJECTS ? b->dm + (row - low) * H : q->above + at * H, b->a + here * padded(BLOCKS),
                  b->r + here * padded(R_BLOCKS), q->grad_own + (share->sums + share->part) * OWN * H@GATE_ARGUMENTS@);
    }
    wait_for_team(share);
    /* The rows that end here, and have nothing before them, pass on only what the initial state wants. */
    const int64_t passing = q->to_initial ? count : at_most(end, limit) - low;
    if (!R_GRAD || passing <= 0) return;
    const T *dr = SHARED ? b->a + local * padded(BLOCKS) : b->r + local * padded(R_BLOCKS);
    int64_t ld = SHARED ? padded(BLOCKS) : padded(R_BLOCKS);
    const Matrix *back = &share->weights->hidden_back;
    T *through = q->mask ? b->through : grad_h;
    times(share, back, dr, ld, passing, q->mask ? NULL : grad_h, HIDDEN, through, HIDDEN, t & 1);
    for (int64_t row = 0; q->mask && row < passing; row++)
        for (int64_t k = row * HIDDEN + columns.from; k < row * HIDDEN + columns.to; k++)
            grad_h[k] += through[k] * q->mask[low * HIDDEN + k];
    wait_for_team(share);
}

/* Add y' x, for a chunk's rows y[rows, M] and x[rows, N], to this thread's part of the share's sums [M, N]; or fill it
   with that, where it is the share's first chunk. */
static void add_products(const Share *share, const Chunk *chunk, int first, const T *y, int64_t ldy, int64_t M,
                         const T *x, int64_t N, T *sums) {
    const Range part = part_of(share, 0, M, 2 * L);
    share->seq->products.outer(y + part.from, ldy, part.to - part.from, x, padded(N), N, chunk->rows,
                               sums + (share->sums * M + part.from) * N, N, first);
}

/* The same for a share without any chunk. */
static void clear(const Share *share, int64_t M, int64_t N, T *sums) {
    const Range part = part_of(share, 0, M, 2 * L);
    if (sums) memset(sums + (share->sums * M + part.from) * N, 0, sizeof(T) * (size_t)((part.to - part.from) * N));
}

/* Add a chunk to the gradients of the weights, and compute that of its inputs. */
static void chunk_gradients(const Share *share, const Chunk *chunk, int first, const Backward *b) {
    const Sequence *q = share->seq;
    const T *dr = SHARED ? b->a : b->r;
    const int64_t lda = padded(BLOCKS), ldr = SHARED ? lda : padded(R_BLOCKS);
    if (q->grad_hidden && R_GRAD)
        add_products(share, chunk, first, dr, ldr, R_BLOCKS, b->h, HIDDEN, q->grad_hidden);
    if (q->grad_projection && PROJECTS)
        add_products(share, chunk, first, b->dh, padded(HIDDEN), HIDDEN,
                     gather(share, chunk, q->unprojected, H, b->unprojected, padded(H)), H, q->grad_projection);
    if (!A_GRAD) return;
    if (q->grad_input)
        add_products(share, chunk, first, b->a, lda, BLOCKS,
                     gather(share, chunk, q->x, q->inputs, b->x, padded(q->inputs)), q->inputs, q->grad_input);
    const Range columns = part_of(share, 0, BLOCKS, 2 * L);
    for (int64_t row = 0; q->grad_bias && row < chunk->rows; row++) {
        T *restrict sum = q->grad_bias + share->sums * BLOCKS;
        const T *restrict da = b->a + row * lda;
        for (int64_t j = columns.from; j < columns.to; j++) sum[j] += da[j];
    }
    if (!q->grad_x) return;
    T *dx = whole(share) ? q->grad_x + q->starts[chunk->from] * q->inputs : b->dx;
    times(share, &share->weights->input_back, b->a, lda, chunk->rows, NULL, 0, dx, q->inputs, 0);
    for (int64_t t = chunk->from; dx == b->dx && t < chunk->to; t++)
        if (end_of(share, t) > share->low)
            memcpy(q->grad_x + (q->starts[t] + share->low) * q->inputs,
                   dx + (share->at[t] - share->at[chunk->from]) * q->inputs,
                   sizeof(T) * (size_t)((end_of(share, t) - share->low) * q->inputs));
}

static void backward_rows(void *pointer) {
    Share *share = pointer;
    const Sequence *q = share->seq;
    Backward memory;
    Chunk chunk;
    int first = 1;
    lay_out(share, share->memory, &memory);
    for (int64_t next = q->reverse ? 0 : q->steps; next_chunk(share, !q->reverse, next, &chunk);
         next = q->reverse ? chunk.to : chunk.from) {
        if (chunk.rows == 0) continue;
        if (!q->saved || q->grad_hidden) gather_before(share, &chunk, memory.h);
        if (!q->saved) recompute(share, &chunk, &memory);
        for (int64_t i = 0; i < chunk.to - chunk.from; i++) {
            int64_t t = q->reverse ? chunk.from + i : chunk.to - 1 - i;
            if (end_of(share, t) > share->low)
                back_through(share, &memory, t, share->at[t] - share->at[chunk.from]);
        }
        chunk_gradients(share, &chunk, first, &memory);
        first = 0;
        wait_for_team(share);
    }
    if (!first) return;
    clear(share, BLOCKS, q->inputs, q->grad_input);
    clear(share, R_BLOCKS, HIDDEN, q->grad_hidden);
    clear(share, HIDDEN, PROJECTS ? H : 0, q->grad_projection);
}

static int64_t backward_memory(const Share *share) {
    Backward nowhere;
    return lay_out(share, NULL, &nowhere);
}

/* Returns 0, or 1 where there is too little memory. */
int gw_backward(const Sequence *q) {
    Weights w = {0};
    const int64_t rows = q->steps ? q->starts[q->steps - 1] + q->sizes[q->steps - 1] : 0;
    const int64_t many = rows > FEW_ROWS, steps = many && !q->plain;
    const T *input = q->saved ? NULL : q->weight_input, *hidden = q->saved ? NULL : q->weight_hidden;
    /* Where it recomputes, W is multiplied with the rows of many steps. */
    const Packing packings[] = {{&w.input, input, BLOCKS, q->inputs, q->inputs, 1, many},
                                {&w.hidden, hidden, R_BLOCKS, HIDDEN, HIDDEN, 1, many},
                                {&w.input_back, q->grad_x ? q->weight_input : NULL, q->inputs, BLOCKS, 1, q->inputs, many},
                                {&w.hidden_back, q->weight_hidden, HIDDEN, R_BLOCKS, 1, HIDDEN, steps},
                                {&w.projection_back, q->projection, H, HIDDEN, 1, H, steps}};
    T *packed = pack_all(q, packings, 5);
    int failed = !packed || (q->together ? do_together : share_out)(q, &w, backward_rows, backward_memory);
    free(packed);
    return failed;
}

/* The same for several models. */
int gw_backward_models(const Sequence *models, int count, int threads) {
    return run_models(models, count, threads, gw_backward);
}
