/* The forward pass. */

/* Whether U x and W h are one product: for enough rows, and weights that stay in the second cache. */
static int fused(const Share *share) {
    int64_t inputs = share->seq->inputs, bytes = (int64_t)sizeof(T) * BLOCKS * (inputs + HIDDEN);
    return SUMMED && share->weights->hidden.packed && share->high - share->low >= 8 && (inputs <= 32 || bytes <= 3 << 19);
}

static int64_t forward_memory(const Share *share) {
    int64_t chunk = fused(share) ? 0 : rows_of_chunk(share), rows = share->high - share->low;
    int64_t masks = share->seq->together ? share->seq->threads : 1; /* each thread masks h for its own columns */
    return chunk * (padded(BLOCKS) + padded(share->seq->inputs)) + rows * (padded(R_BLOCKS) + H + masks * HIDDEN);
}

static void forward_rows(void *pointer) {
    Share *share = pointer;
    const Sequence *q = share->seq;
    const Weights *w = share->weights;
    const int64_t low = share->low, high = share->high, ldr = padded(R_BLOCKS), inputs = q->inputs;
    const int64_t chunk_rows = fused(share) ? 0 : rows_of_chunk(share);
    T *a = share->memory, *x = a + chunk_rows * padded(BLOCKS), *r = x + chunk_rows * padded(inputs);
    T *unprojected = r + (high - low) * ldr, *through_mask = unprojected + (high - low) * (H + share->part * HIDDEN);
    Chunk chunk;
    for (int64_t next = q->reverse ? q->steps : 0; next_chunk(share, (int)q->reverse, next, &chunk);
         next = q->reverse ? chunk.from : chunk.to) {
        if (!fused(share)) input_part(share, &chunk, x, a);
        for (int64_t i = 0; i < chunk.to - chunk.from; i++) {
            int64_t t = q->reverse ? chunk.to - 1 - i : chunk.from + i, end = end_of(share, t);
            int64_t limit = with_before(q, t), local = share->at[t] - share->at[chunk.from];
            /* First the rows that continue from another step, then those that start here. */
            for (int64_t first = low, last; USES_HIDDEN && first < end; first = last) {
                last = first < limit ? at_most(end, limit) : end;
                const T *h = masked(q, before(q, 0, t, first, limit), first, last - first, through_mask);
                T *to = r + (first - low) * ldr;
                if (fused(share))
                    times_both(share, &w->input, q->x + (q->starts[t] + first) * inputs, inputs, &w->hidden, h, HIDDEN,
                               last - first, q->bias, 0, to, ldr, t & 1);
                else
                    recurrent_part(share, a + (local + first - low) * padded(BLOCKS), h, HIDDEN, last - first, to, t & 1);
            }
            wait_for_team(share);
            const Range rows = rows_at(share, t);
            for (int64_t row = rows.from; row < rows.to; row++) {
                int64_t at = q->starts[t] + row;
                const T *s[STATES], *z = q->noise + at * NOISE * H;
                T *n[STATES];
                for (int k = 0; k < STATES; k++) {
                    s[k] = before(q, k, t, row, limit);
                    n[k] = state_after(q, k, t, row);
                }
                if (PROJECTS) n[0] = q->unprojected ? q->unprojected + at * H : unprojected + (row - low) * H;
                const T *a_row = a + (local + row - low) * padded(BLOCKS), *r_row = r + (row - low) * ldr;
                if (q->saved) FETCH(q->saved + (at + 2) * SAVED_SIZE, 1);
                if (q->saved)@GATE_CALL@
                    step_saving(a_row, r_row, s, q->own, z, n, q->saved + at * SAVED_SIZE);
                else if (q->returned)
                    step_returning(a_row, r_row, s, q->own, z, n, q->returned + at * RETURNED * H);
                else
                    step(a_row, r_row, s, q->own, z, n);
            }
            wait_for_team(share);
            if (!PROJECTS || end <= low) continue;
            const T *of_step = q->unprojected ? q->unprojected + (q->starts[t] + low) * H : unprojected;
            times(share, &w->projection, of_step, H, end - low, NULL, 0, state_after(q, 0, t, low), HIDDEN, t & 1);
            wait_for_team(share);
        }
    }
    const Range rows = part_of(share, low, high, 1);
    for (int64_t row = rows.from; row < rows.to; row++) {
        int64_t last = -1;
        while (last + 1 < q->steps && q->sizes[last + 1] > row) last++;
        if (q->reverse && last > 0) last = 0;
        for (int k = 0; k < STATES; k++)
            memcpy(q->final[k] + row * width_of(k),
                   last < 0 ? q->initial[k] + row * width_of(k) : state_after(q, k, last, row),
                   sizeof(T) * (size_t)width_of(k));
    }
}

/* Returns 0, or 1 where there is too little memory. */
int gw_forward(const Sequence *q) {
    int64_t rows = q->steps ? q->starts[q->steps - 1] + q->sizes[q->steps - 1] : 0;
    in_large_pages(q->saved, rows * SAVED_SIZE);
    for (int k = 0; k < STATES; k++)
        if (k == 0 || q->keeps_states) in_large_pages(q->states[k], rows * width_of(k));
    Weights w = {0};
    const int64_t many = rows > FEW_ROWS, steps = many && !q->plain;
    const Packing packings[] = {{&w.input, q->weight_input, BLOCKS, q->inputs, q->inputs, 1, many},
                                {&w.hidden, q->weight_hidden, R_BLOCKS, HIDDEN, HIDDEN, 1, steps},
                                {&w.projection, q->projection, HIDDEN, H, H, 1, steps}};
    T *packed = pack_all(q, packings, 3);
    int failed = !packed || (q->together ? do_together : share_out)(q, &w, forward_rows, forward_memory);
    free(packed);
    return failed;
}

/* The same for several models. */
int gw_forward_models(const Sequence *models, int count, int threads) {
    return run_models(models, count, threads, gw_forward);
}
