struct SequenceBack {
    const T *weights;  // W [R·H, H]; `of_weights` numbers further is the next model's
    const T *above;    // [rows, H]: gradient of the outputs
    const u32 *kept;
    const S *own;
    const T *mask;
    T *da;         // [rows, G·H]
    T *dr;         // [rows, R·H], which is da where ONE_GRADIENT; filled with marks for EXCHANGE 2
    S *grad;       // [K, batch, H]: gradients of the final state where `given`, else 0; then of the initial one
    S *grad_own;   // [tiles of 8 sequences, OWN, H]
    const int *starts, *lengths;
    int *error;
#if CARRIED
    const T *carried[CARRIED];  // [rows, H] each
#endif
    u32 *reduced;  // [tiles of ROWS, steps, ALL_WORDS, BLOCKS, ROWS], filled with marks for EXCHANGE 2
    long long steps, batch, reverse, rows, given, of_weights, first;
};

// The last phase of a step's derivative; u are the gradients of gates.
DEV void step_back(
    const S *g, const S *k, const S *p, const S *u, const OfRow &row, const Live &live, S *da, S *dr, S *ds, S *dp
) {
@LAST@
}

#define BACK_ROW (R * ROW)  // words of a row of dr
#define BLOCK_WORDS (OF_BLOCK / HALVES)
// A word of W transposed: its column is one row of W, or two.
DEV u32 transposed(const T *weights, int feature, int column) {
#if KIND == 0
    return __float_as_uint(weights[(long long)column * H + feature]);
#else
    const T *from = weights + (long long)column * 2 * H + feature;
    return (u32)from[0] | (u32)from[H] << 16;
#endif
}
#define PART_WORDS (OWN_PART ? R * BLOCK_WORDS : (BACK_ROW + SPLIT - 1) / SPLIT)
#define PART ((PART_WORDS + CHUNK - 1) / CHUNK * CHUNK)
#define CHUNKS_OF_WARP ((PART / CHUNK + WSPLIT - 1) / WSPLIT)
#define MY_UNITS (DIRECT ? EIGHTS * GROUPS * TILES : (UNITS + WARPS - 1) / WARPS)
#define SLOT (RECORD + (1 + CARRIED) * UNIT_WORDS)

#if MODELS
DEV void of_model(const SequenceBack &q) {
#else
KERNEL(sequence_backward, SequenceBack, WARPS * 32) {
#endif
    const Layout<SequenceBack> at(q);
    const Part &me = at.me;
    const int lane = me.lane, g = me.g, batch = at.batch, steps = at.steps;
    SHARED
    u32 *passed = (u32 *)shared_memory + FIRST;                                                // [BUFFERS][HELD][SPREAD(PART)]
    float2 *sums = (float2 *)(passed + (R ? BUFFERS * HELD * SPREAD(PART) : 0));         // [SUM_BUFFERS][SUMS][UNITS][32]
    S *reduced = (S *)(sums + (R && !DIRECT ? SUM_BUFFERS * SUMS * UNITS * 32 : 0));               // [REDUCED]
    u32 *ring = (u32 *)reduced + REDUCED + me.warp * MY_UNITS * DEPTH * SLOT;                    // [WARPS][MY_UNITS][DEPTH][SLOT]
    auto is_unit = [&](int u) { return DIRECT || u * WARPS + me.warp < UNITS; };
    auto group_of = [&](int u) {
        return DIRECT ? (me.group * GROUPS + u / (EIGHTS * TILES)) * EIGHTS + u / TILES % EIGHTS : (u * WARPS + me.warp) / TILES;
    };
    auto tile_of = [&](int u) { return DIRECT ? u % TILES : (u * WARPS + me.warp) % TILES; };
    auto feature0 = [&](int u) { return me.rank * OF_BLOCK + group_of(u) * 8; };
    auto row0 = [&](int u) { return me.first + tile_of(u) * 8; };

#if R > 0
    u32 w[CHUNKS_OF_WARP][2][GROUPS][4];
#pragma unroll
    for (int k = 0; k < CHUNKS_OF_WARP; k++)
#pragma unroll
        for (int m = 0; m < GROUPS; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int v = 0; v < 4; v++) {
                    const int word = (me.share * CHUNKS_OF_WARP + k) * CHUNK + me.q * 4 + v;
                    const int feature = me.cluster * OF_SPLIT + ((me.group * GROUPS + m) * EIGHTS + half) * 8 + g;
                    const int own = me.rank * BLOCK_WORDS + word % BLOCK_WORDS;
                    const int column = OWN_PART ? word / BLOCK_WORDS * ROW + own : me.place * PART + word;
                    const bool there = half < EIGHTS && feature < H && (OWN_PART ? word < PART_WORDS && own < ROW : word < PART && column < BACK_ROW);
                    w[k][v / 2][m][half + v % 2 * 2] = factor(there ? transposed(q.weights, feature, column) : 0);
                }
#endif
    S grad[MY_UNITS][K][2], own[MY_UNITS][AT_LEAST_1(OWN)], grad_own[MY_UNITS][AT_LEAST_1(OWN)], mask[MY_UNITS][2];
    int length[MY_UNITS][2];
#pragma unroll
    for (int u = 0; u < MY_UNITS; u++) {
        const int feature = feature0(u) + g;
        const bool there = is_unit(u) && feature < H;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            own[u][i] = there ? q.own[i * H + feature] : 0;
            grad_own[u][i] = 0;
        }
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int b = row0(u) + 2 * me.q + e;
            const bool is_row = there && b < batch;
            length[u][e] = is_row ? at.length_of(b) : 0;
            mask[u][e] = is_row && MASKED ? from_t(q.mask[(long long)b * H + feature]) : 1;
#pragma unroll
            for (int k = 0; k < K; k++) grad[u][k][e] = is_row && q.given ? q.grad[((long long)k * batch + b) * H + feature] : 0;
        }
    }
    // Where in rows of `words` a lane's word of a unit is, as in the forward pass; a step's gradients lie in rows of BACK_ROW and
    // of G * ROW words, and as many further is the word of the next gate.
    const int two = FIRST_OF_TWO(g), first_row = row0(0) + 2 * me.q + two, column0 = feature0(0) / HALVES + WORD_OF(g);
    const int first_r = pinned(first_row * BACK_ROW + column0), first_a = pinned(first_row * G * ROW + column0);
    const int first_own = pinned((tile_of(0) * 8 + 2 * me.q + two) * SPREAD(PART) + (OWN_PART ? group_of(0) * 8 / HALVES + WORD_OF(g) : column0));
    const int first_number = pinned(2 * me.q * 8 + g), reads = read_from<PART>(me.share, g, me.q);
    auto beside = [&](int u, int first, int words) {
        return first + u / TILES % EIGHTS * (8 / HALVES) + u / (EIGHTS * TILES) * (EIGHTS * 8 / HALVES) + u % TILES * 8 * words;
    };
    auto place_of = [&](int u, int second, int first, int words) {
        const int place = DIRECT ? beside(u, first, words) : u ? (row0(u) + 2 * me.q + two) * words + feature0(u) / HALVES + WORD_OF(g) : first;
        return place + second * words;
    };
    auto own_of = [&](int u, int second) {
        const int column = OWN_PART ? group_of(u) * 8 / HALVES : feature0(u) / HALVES;
        const int first = DIRECT ? beside(u, first_own, SPREAD(PART)) : u ? (tile_of(u) * 8 + 2 * me.q + two) * SPREAD(PART) + column + WORD_OF(g) : first_own;
        return first + second * SPREAD(PART);
    };
    auto length_of = [&](int u, int e) { return e ? length[u][1] : length[u][0]; };  // without local memory
    auto fetch = [&](int i) {
        if (i >= 0) {
            const int t = at.time_of(i), alive = at.alive_at(t);
            const u32 *rows = (const u32 *)q.above + (long long)at.start_of(t) * ROW;
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++) {
                if (!is_unit(u) || (PADDED && feature0(u) >= H) || row0(u) >= batch) continue;
                u32 *slot = ring + (u * DEPTH + i % DEPTH) * SLOT;
                const u32 *record = at.record_at(t, at.record_of(feature0(u), row0(u)));
#pragma unroll
                for (int x = 0; x < RECORD; x += 32)
                    if (x + 32 <= RECORD || x + lane < RECORD) copy_word(slot + lane + x, record + lane + x);
#pragma unroll
                for (int s = 0; s < 3 - HALVES; s++) {
                    const int x = s * 32 + lane, row = tile_of(u) * 8 + x / (8 / HALVES), word = feature0(u) / HALVES + x % (8 / HALVES);
                    if (row < alive && (!PADDED || word < ROW)) copy_word(slot + RECORD + x, rows + ((me.first + row) * ROW + word));
#if CARRIED
                    const long long place = (at.start_of(t) + me.first + row) * (long long)ROW + word;
#pragma unroll
                    for (int n = 0; n < CARRIED; n++)
                        if (row < alive && word < ROW)
                            copy_word(slot + RECORD + (1 + n) * UNIT_WORDS + x, (const u32 *)q.carried[n] + place);
#endif
                }
            }
        }
        commit_copies();
    };
#pragma unroll 1
    for (int i = 1; i <= DEPTH; i++) fetch(steps - i);
#if R > 0
    for (int i = threadIdx.x; i < BUFFERS * HELD * SPREAD(PART); i += WARPS * 32) passed[i] = 0;
#if EXACT
    if (threadIdx.x == 0) *(u32 *)shared_memory = HIGH_DIGITS;
#endif
#endif
#if LEVELS
    clear_inbox(reduced);
#endif
#if COUPLED
    all_blocks();
    bool late = false;
#endif
#pragma unroll 1
    for (int i = steps - 1; i >= -1; i--) {
        const int parity = (steps - 1 - i) & 1;
#if R > 0
        if (i < steps - 1) {
            u32 *now = passed + (BUFFERS == 2 ? parity : 0) * HELD * SPREAD(PART);
            const int from = at.time_of(i + 1), alive = at.alive_at(from);
            const u32 *rows = (const u32 *)q.dr + ((long long)at.start_of(from) + me.first) * BACK_ROW;
            if (EXCHANGE == 2 && !STAGED) {
                fetch_rows<BACK_ROW, PART>(rows, me.place * PART, now, alive, late, q.error);
                __syncthreads();
            }
            float2 *mine = sums + (SUM_BUFFERS == 2 ? parity : 0) * SUMS * UNITS * 32;
#pragma unroll
            for (int tile = 0; tile < TILES; tile += PASS) {
                if (STAGED) {
                    if (DIRECT || tile) __syncthreads();
                    fetch_rows<BACK_ROW, PART>(rows + tile * 8 * BACK_ROW, me.place * PART, now, alive - tile * 8, late, q.error);
                    __syncthreads();
                }
                float c[GROUPS][PASS][4];
                multiply_all<GROUPS, PART>(c, w, now, tile, me.share, reads);
#pragma unroll
                for (int m = 0; m < GROUPS; m++)
#pragma unroll
                    for (int j = 0; j < PASS; j++) {
                        if (tile + j >= TILES) continue;
#pragma unroll
                        for (int half = 0; half < EIGHTS; half++) {
                            const float2 x = {c[m][j][half * 2], c[m][j][half * 2 + 1]};
                            if (DIRECT) {
                                const int u = DIRECT ? (m * EIGHTS + half) * TILES + tile + j : 0;
                                grad[u][0][0] += x.x * mask[u][0], grad[u][0][1] += x.y * mask[u][1];
                            } else {
                                const int features = (me.group * GROUPS + m) * EIGHTS + half, owner = features / (OF_BLOCK / 8);
                                const int unit = features % (OF_BLOCK / 8) * TILES + tile + j;
                                float2 *place = mine + ((me.place * WSPLIT + me.share) * UNITS + unit) * 32 + lane;
                                if (SPLIT > 1) hand_to(place, owner, x);
                                else *place = x;
                            }
                        }
                    }
            }
            if (!DIRECT) {
                barrier_of_sums();
#pragma unroll
                for (int u = 0; u < MY_UNITS; u++) {
                    if (!is_unit(u)) continue;
                    float2 sum = {0, 0};
#pragma unroll
                    for (int k = 0; k < SUMS; k++) {
                        const float2 x = mine[(k * UNITS + u * WARPS + me.warp) * 32 + lane];
                        sum.x += x.x, sum.y += x.y;
                    }
                    grad[u][0][0] += sum.x * mask[u][0], grad[u][0][1] += sum.y * mask[u][1];
                }
            }
        }
#endif
        if (i < 0) break;
        const int t = at.time_of(i);
        u32 *rows_of_a = (u32 *)q.da + (long long)at.start_of(t) * (G * ROW), *rows_of_r = (u32 *)q.dr + (long long)at.start_of(t) * BACK_ROW;
        wait_for_copies<DEPTH - 1>();
        __syncwarp();
        Words da[MY_UNITS][AT_LEAST_1(G)], dr[MY_UNITS][AT_LEAST_1(R)];
        OfRow row[ROW_SETS][2];
        Live live[MY_UNITS][2];
        auto inputs = [&](int u, int e, S *after, S *kept) {
            const u32 *slot = ring + (u * DEPTH + i % DEPTH) * SLOT;
#pragma unroll
            for (int k = 0; k < K; k++) after[k] = grad[u][k][e];
            after[0] += number(slot + RECORD, first_number + e * 8);
#pragma unroll
            for (int n = 0; n < SLOTS; n++) {
                const u32 *value = slot + (n * 32 + lane) * KEPT_WORDS;
                if (KEPT_WORDS == 2) kept[n] = __uint_as_float(value[KEPT_WORDS == 2 ? e : 0]);
                else kept[n] = IN_HALF(n) ? from_half(((const unsigned short *)value)[e]) : number(value, e);
            }
        };
        // Anew in each phase, so that no register has to keep it.
        auto read_rows = [&] {
#pragma unroll
            for (int set = 0; set < ROW_SETS; set++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const u32 *value = ring + (set * DEPTH + i % DEPTH) * SLOT + SLOTS * 32 * KEPT_WORDS + 2 * me.q + e;
                    S of_row[AT_LEAST_1(ROW_SLOTS)];
#pragma unroll
                    for (int n = 0; n < ROW_SLOTS; n++) of_row[n] = __uint_as_float(value[n * 8]);
                    first_of_row(of_row, row[set][e]);
                }
        };
#if LEVELS
        auto exchange = [&](auto of) {
            using E = decltype(of);
            S x[MY_UNITS][2][E::VALUES];
            read_rows();
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++) {
                if (!is_unit(u)) continue;
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    S after[K], kept[AT_LEAST_1(SLOTS)], of_own[AT_LEAST_1(OWN)];
                    inputs(u, e, after, kept);
                    E::phase(after, kept, own[u], row[DIRECT ? u % TILES : u][e], live[u][e], x[u][e], of_own);
#pragma unroll
                    for (int n = 0; n < OWN; n++)
                        if (E::sets_dp(n) && at.has(length[u][e], t)) grad_own[u][n] += of_own[n];
                }
            }
            reduce<E, MY_UNITS>(x, row, me, reduced, at.rows_at(i), late, q.error, is_unit, tile_of, group_of);
        };
        @REDUCE@
#endif
        read_rows();
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++) {
            if (!is_unit(u)) continue;
            S of_a[2][AT_LEAST_1(G)], of_r[2][AT_LEAST_1(R)];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const bool alive = at.has(length[u][e], t);
                S after[K], kept[AT_LEAST_1(SLOTS)], before[K], of_own[AT_LEAST_1(OWN)];
                inputs(u, e, after, kept);
                S carried[AT_LEAST_1(CARRIED)];
#pragma unroll
                for (int n = 0; n < CARRIED; n++)
                    carried[n] = number(ring + (u * DEPTH + i % DEPTH) * SLOT + RECORD + (1 + n) * UNIT_WORDS, first_number + e * 8);
#pragma unroll
                for (int k = 1; k < K && CARRIED; k++) after[k] += carried[k - 1];
                step_back(after, kept, own[u], carried + (CARRIED ? K - 1 : 0), row[DIRECT ? u % TILES : u][e], live[u][e], of_a[e], of_r[e], before, of_own);
#pragma unroll
                for (int k = 0; k < K; k++)
                    if (alive) grad[u][k][e] = before[k];
#pragma unroll
                for (int n = 0; n < OWN; n++)
                    if (Last::sets_dp(n) && alive) grad_own[u][n] += of_own[n];
#pragma unroll
                for (int n = 0; n < G; n++) of_a[e][n] = alive ? of_a[e][n] : 0;
#pragma unroll
                for (int n = 0; n < R; n++) of_r[e][n] = alive ? of_r[e][n] : 0;
            }
#pragma unroll
            for (int n = 0; n < G; n++) da[u][n] = as_words(of_a[0][n], of_a[1][n], g);
#pragma unroll
            for (int n = 0; n < R; n++) {
                dr[u][n] = ONE_GRADIENT ? da[u][n] : as_words(of_r[0][n], of_r[1][n], g);
                each_word(dr[u][n], g, [&](int second, int e, u32 x) {
                    if (PADDED && feature0(u) / HALVES + WORD_OF(g) >= ROW) return;
                    if (EXCHANGE == 2) {
                        if (at.has(length_of(u, e), t)) write_shared_word(rows_of_r + place_of(u, second, first_r, BACK_ROW) + n * ROW, x);
                        return;
                    }
                    u32 *place = passed + (parity ^ 1) * ROWS * SPREAD(PART) + own_of(u, second);  // 0 where there is no sequence
                    if (OWN_PART) place[n * BLOCK_WORDS] = factor(x);
                    else
#pragma unroll
                        for (int block = 0; block < (EXCHANGE == 1 ? BLOCKS : 1); block++) hand_to(place + n * ROW, block, factor(x));
                });
            }
        }
#if COUPLED
        arrive();
#endif
        __syncwarp();
        fetch(i - DEPTH);
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++) {
            if (!is_unit(u)) continue;
            auto store = [&](const Words &words, u32 *rows, int first, int width) {
                each_word(words, g, [&](int second, int e, u32 x) {
                    if ((!PADDED || feature0(u) / HALVES + WORD_OF(g) < ROW) && at.has(length_of(u, e), t)) rows[place_of(u, second, first, width)] = x;
                });
            };
            if (!(ONE_GRADIENT && EXCHANGE == 2))
#pragma unroll
                for (int n = 0; n < G; n++) store(da[u][n], rows_of_a + n * ROW, first_a, G * ROW);
            if (!ONE_GRADIENT && EXCHANGE != 2)
#pragma unroll
                for (int n = 0; n < R; n++) store(dr[u][n], rows_of_r + n * ROW, first_r, BACK_ROW);
        }
#if COUPLED
        wait_for_others();
#endif
    }
#pragma unroll
    for (int u = 0; u < MY_UNITS; u++) {
        const int feature = feature0(u) + g;
#pragma unroll
        for (int n = 0; n < OWN; n++) {
            S sum = grad_own[u][n];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            if (me.q == 0 && is_unit(u) && feature < H && row0(u) < batch) q.grad_own[((long long)row0(u) / 8 * OWN + n) * H + feature] = sum;
        }
        if (!is_unit(u) || feature >= H) continue;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int b = row0(u) + 2 * me.q + e;
            if (b >= batch) continue;
#pragma unroll
            for (int k = 0; k < K; k++) q.grad[((long long)k * batch + b) * H + feature] = grad[u][k][e];
        }
    }
#if COUPLED && (EXCHANGE == 1 || SPLIT > 1)
    all_blocks();
#endif
}
#if MODELS
KERNEL(sequence_backward, SequenceBack, WARPS * 32) {
    const long long model = q.first + blockIdx.y;
    SequenceBack mine = q;
    mine.weights += model * q.of_weights;
    mine.above += model * q.rows * H;
    mine.kept += model * q.steps * KEPT_OF_A_STEP;
    mine.own += model * OWN * H;
    if (q.reduced) mine.reduced += model * ((q.batch + ROWS - 1) / ROWS) * q.steps * ALL_WORDS * BLOCKS * ROWS;
    if (q.mask) mine.mask += model * q.batch * H;
    mine.da += model * q.rows * G * H;
    mine.dr += model * q.rows * R * H;
    mine.grad += model * K * q.batch * H;
    mine.grad_own += model * ((q.batch + 7) / 8) * OWN * H;
    of_model(mine);
}
#endif
