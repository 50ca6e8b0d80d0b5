struct Sequence {
    const T *a;        // [rows, A·H]: U x, and noise
    const T *bias;     // b [G·H] or null
    const T *weights;  // W [R·H, H]; `of_weights` numbers further is the next model's, `of_bias` of b
    const S *initial;  // [K, batch, H]
    const S *own;      // [OWN, H]
    const T *mask;     // [batch, H] or null: the factor of h in its next product
    T *out;            // [rows, H]
    T *before;         // [rows, H]: the masked hidden state before every step; filled with marks for EXCHANGE 2
    S *final;          // [K, batch, H]
    const S *addend;   // [batch, R·H] where PROJECTS: to the products of each sequence's first step
    u32 *kept;         // [steps, H / 8, batch / 8, RECORD], or null
    T *gates;          // [rows, GATES·H] or null
    T *states;         // [rows, K, H] or null
    const int *starts;   // [steps + 1]: first row of each step; null: step · batch
    const int *lengths;  // [batch], falling; null: steps
    int *error;          // set where polling has taken too long
    u32 *reduced;        // [tiles of ROWS, steps, ALL_WORDS, BLOCKS, ROWS], filled with marks for EXCHANGE 2
    long long steps, batch, reverse, rows, of_weights, of_bias, first;
};

// The last phase of a step.
DEV void step(
    const S *a, const S *r, const S *s, const S *p, const OfRow &row, const Live &live, S *n, S *k, S *gate
) {
@LAST@
}
DEV void keep_of_row(const OfRow &row, S *k) {
@KEPT_OF_ROW@
}

#define PART_WORDS (OWN_PART ? OF_BLOCK / HALVES : (ROW + SPLIT - 1) / SPLIT)
#define PART ((PART_WORDS + CHUNK - 1) / CHUNK * CHUNK)             // words that this block multiplies
#define CHUNKS_OF_WARP ((PART / CHUNK + WSPLIT - 1) / WSPLIT)
#define TWO_GATES ((R + 1) / 2)
#define M (TWO_GATES * GROUPS)
#define MY_UNITS (DIRECT ? GROUPS * TILES : (UNITS + WARPS - 1) / WARPS)
#define SLOT (A * UNIT_WORDS)
#define BEFORE ((EXCHANGE == 2 && R > 0) || KEEPS)  // whether `before` is there
#define BIASES (OF_BLOCK * A)  // words of shared memory that hold the bias, and 0 for noise

#if MODELS
DEV void of_model(const Sequence &q) {
#else
KERNEL(sequence_forward, Sequence, WARPS * 32) {
#endif
    const Layout<Sequence> at(q);
    const Part &me = at.me;
    const int lane = me.lane, g = me.g, batch = at.batch, steps = at.steps;
    SHARED
    S *bias = (S *)((u32 *)shared_memory + FIRST);                                                // [OF_BLOCK][A]
    u32 *hidden = (u32 *)bias + BIASES;                                                           // [BUFFERS][HELD][SPREAD(PART)]
    float4 *sums = (float4 *)(hidden + (R ? BUFFERS * HELD * SPREAD(PART) : 0));            // [SUM_BUFFERS][SUMS][UNITS][TWO_GATES][32]
    S *reduced = (S *)(sums + (R && !DIRECT ? SUM_BUFFERS * SUMS * UNITS * TWO_GATES * 32 : 0));      // [REDUCED]
    u32 *ring = (u32 *)reduced + REDUCED + me.warp * MY_UNITS * DEPTH * SLOT;                         // [WARPS][MY_UNITS][DEPTH][SLOT]
    auto is_unit = [&](int u) { return DIRECT || u * WARPS + me.warp < UNITS; };
    auto group_of = [&](int u) { return DIRECT ? me.group * GROUPS + u / TILES : (u * WARPS + me.warp) / TILES; };
    auto tile_of = [&](int u) { return DIRECT ? u % TILES : (u * WARPS + me.warp) % TILES; };
    auto feature0 = [&](int u) { return me.rank * OF_BLOCK + group_of(u) * 8; };
    auto row0 = [&](int u) { return me.first + tile_of(u) * 8; };
    const int part0 = OWN_PART ? me.rank * PART_WORDS : me.place * PART;

#if R > 0
    u32 w[CHUNKS_OF_WARP][2][M][4];
#pragma unroll
    for (int k = 0; k < CHUNKS_OF_WARP; k++)
#pragma unroll
        for (int group = 0; group < GROUPS; group++)
#pragma unroll
            for (int gate = 0; gate < 2 * TWO_GATES; gate++)
#pragma unroll
                for (int v = 0; v < 4; v++) {
                    const int word = (me.share * CHUNKS_OF_WARP + k) * CHUNK + me.q * 4 + v, column = part0 + word;
                    const int feature = me.cluster * OF_SPLIT + (me.group * GROUPS + group) * 8 + g;
                    const bool there = gate < R && feature < H && column < ROW && word < (OWN_PART ? PART_WORDS : PART);
                    const u32 x = there ? ((const u32 *)q.weights)[(long long)(gate * H + feature) * ROW + column] : 0;
                    w[k][v / 2][group * TWO_GATES + gate / 2][gate % 2 + v % 2 * 2] = factor(x);
                }
#endif
    for (int i = threadIdx.x; i < BIASES; i += WARPS * 32) {
        const int feature = me.rank * OF_BLOCK + i / A, gate = i % A;
        bias[i] = q.bias && gate < G && feature < H ? from_t(q.bias[gate * H + feature]) : 0;
    }
    S state[MY_UNITS][K][2], own[MY_UNITS][AT_LEAST_1(OWN)], mask[MY_UNITS][2];
    int length[MY_UNITS][2];
#pragma unroll
    for (int u = 0; u < MY_UNITS; u++) {
        const int feature = feature0(u) + g;
        const bool there = is_unit(u) && feature < H;
#pragma unroll
        for (int i = 0; i < OWN; i++) own[u][i] = there ? q.own[i * H + feature] : 0;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int b = row0(u) + 2 * me.q + e;
            const bool is_row = there && b < batch;
            length[u][e] = is_row ? at.length_of(b) : 0;
            mask[u][e] = is_row && MASKED ? from_t(q.mask[(long long)b * H + feature]) : 1;
#pragma unroll
            for (int k = 0; k < K; k++)
                state[u][k][e] = is_row ? q.initial[((long long)k * batch + b) * H + feature] : 0;
        }
    }
    // Where in rows of `words` a lane's word of a unit is: the first of its two, and the row below it in 32 bits.
    auto beside = [&](int u, int first, int words) { return first + u % TILES * 8 * words + u / TILES * (8 / HALVES); };
    const int two = FIRST_OF_TWO(g), column0 = feature0(0) / HALVES + WORD_OF(g);
    const int first_place = pinned((row0(0) + 2 * me.q + two) * ROW + column0);
    const int first_own = pinned((tile_of(0) * 8 + 2 * me.q + two) * SPREAD(PART) + (OWN_PART ? group_of(0) * 8 / HALVES + WORD_OF(g) : column0));
    const int first_number = pinned(2 * me.q * 8 + g), reads = read_from<PART>(me.share, g, me.q);
    auto place_of = [&](int u, int second) {
        const int first = DIRECT ? beside(u, first_place, ROW) : u ? (row0(u) + 2 * me.q + two) * ROW + feature0(u) / HALVES + WORD_OF(g) : first_place;
        return first + second * ROW;
    };
    auto own_of = [&](int u, int second) {
        const int column = OWN_PART ? group_of(u) * 8 / HALVES : feature0(u) / HALVES;
        const int first = DIRECT ? beside(u, first_own, SPREAD(PART)) : u ? (tile_of(u) * 8 + 2 * me.q + two) * SPREAD(PART) + column + WORD_OF(g) : first_own;
        return first + second * SPREAD(PART);
    };
    auto length_of = [&](int u, int e) { return e ? length[u][1] : length[u][0]; };  // without local memory
    // What step i needs, on its way.
    auto fetch = [&](int i) {
        if (i < steps) {
            const int t = at.time_of(i), alive = at.alive_at(t);
            const u32 *rows = (const u32 *)q.a + (long long)at.start_of(t) * (A * ROW);
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++) {
                if (!is_unit(u)) continue;
                u32 *slot = ring + (u * DEPTH + i % DEPTH) * SLOT;
#pragma unroll
                for (int s = 0; s < 3 - HALVES; s++) {
                    const int x = s * 32 + lane, row = tile_of(u) * 8 + x / (8 / HALVES), word = feature0(u) / HALVES + x % (8 / HALVES);
                    const u32 *from = rows + ((me.first + row) * (A * ROW) + word);
                    if (row < alive && (!PADDED || word < ROW))
#pragma unroll
                        for (int block = 0; block < A; block++) copy_word(slot + block * UNIT_WORDS + x, from + block * ROW);
                }
            }
        }
        commit_copies();
    };
    // The masked hidden state, to all who multiply it in step i, and to `before`.
    Words handed[MY_UNITS];
    auto hand_on = [&](int i) {
        const bool there = i < steps;
        const int t = there ? at.time_of(i) : 0;
        u32 *before = (u32 *)q.before + (long long)at.start_of(t) * ROW;
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++) {
            if (!is_unit(u)) continue;
            handed[u] = as_words(MASKED ? state[u][0][0] * mask[u][0] : state[u][0][0], MASKED ? state[u][0][1] * mask[u][1] : state[u][0][1], g);
            each_word(handed[u], g, [&](int second, int e, u32 x) {
                if (!there || (PADDED && feature0(u) / HALVES + WORD_OF(g) >= ROW)) return;
#if R > 0 && EXCHANGE != 2
                u32 *place = hidden + (i & 1) * ROWS * SPREAD(PART) + own_of(u, second);  // 0 where there is no sequence
                if (OWN_PART) *place = factor(x);
                else
#pragma unroll
                    for (int block = 0; block < (EXCHANGE == 1 ? BLOCKS : 1); block++) hand_to(place, block, factor(x));
#endif
                if (BEFORE && at.has(length_of(u, e), t)) {
                    u32 *place = before + place_of(u, second);
                    if (EXCHANGE == 2) write_shared_word(place, x);
                    else *place = x;
                }
            });
        }
    };
#pragma unroll 1
    for (int i = 0; i < DEPTH; i++) fetch(i);
#if R > 0
    for (int i = threadIdx.x; i < BUFFERS * HELD * SPREAD(PART); i += WARPS * 32) hidden[i] = 0;
#if EXACT
    if (threadIdx.x == 0) *(u32 *)shared_memory = HIGH_DIGITS;
#endif
#endif
#if LEVELS
    clear_inbox(reduced);
#endif
#if COUPLED
    all_blocks();
#endif
    if (steps > 0) hand_on(0);
#if R > 0
    if (EXCHANGE != 2) all_blocks();
#endif
#if COUPLED
    bool late = false;
#endif
#pragma unroll 1
    for (int i = 0; i < steps; i++) {
        const int t = at.time_of(i), start = at.start_of(t);
        S r[MY_UNITS][2][AT_LEAST_1(2 * TWO_GATES)];  // of each unit and sequence
#if R > 0
        u32 *now = hidden + (BUFFERS == 2 ? i & 1 : 0) * HELD * SPREAD(PART);
        const u32 *rows = (const u32 *)q.before + ((long long)start + me.first) * ROW;
        if (EXCHANGE == 2 && !STAGED) {
            fetch_rows<ROW, PART>(rows, part0, now, at.alive_at(t), late, q.error);
            __syncthreads();
        }
        float4 *mine = sums + (SUM_BUFFERS == 2 ? i & 1 : 0) * SUMS * UNITS * TWO_GATES * 32;
#pragma unroll
        for (int tile = 0; tile < TILES; tile += PASS) {
            if (STAGED) {
                if (DIRECT || tile) __syncthreads();
                fetch_rows<ROW, PART>(rows + tile * 8 * ROW, part0, now, at.alive_at(t) - tile * 8, late, q.error);
                __syncthreads();
            }
            float c[M][PASS][4];
            multiply_all<M, PART>(c, w, now, tile, me.share, reads);
#pragma unroll
            for (int group = 0; group < GROUPS; group++)
#pragma unroll
                for (int j = 0; j < PASS; j++) {
                    if (tile + j >= TILES) continue;
#pragma unroll
                    for (int two = 0; two < TWO_GATES; two++) {
                        const float *x = c[group * TWO_GATES + two][j];
                        if (DIRECT) {
#pragma unroll
                            for (int n = 0; n < 4; n++) r[DIRECT ? group * TILES + tile + j : 0][n % 2][2 * two + n / 2] = x[n];
                        } else {
                            const int features = me.group * GROUPS + group, owner = features / (OF_BLOCK / 8);
                            const int unit = features % (OF_BLOCK / 8) * TILES + tile + j;
                            float4 *place = mine + (((me.place * WSPLIT + me.share) * UNITS + unit) * TWO_GATES + two) * 32 + lane;
                            const float4 y = {x[0], x[1], x[2], x[3]};
                            if (SPLIT > 1) hand_to(place, owner, y);
                            else *place = y;
                        }
                    }
                }
        }
        if (!DIRECT) {
            barrier_of_sums();
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++) {
                if (!is_unit(u)) continue;
#pragma unroll
                for (int two = 0; two < TWO_GATES; two++) {
                    float4 sum = {0, 0, 0, 0};
#pragma unroll
                    for (int k = 0; k < SUMS; k++) {
                        const float4 x = mine[((k * UNITS + u * WARPS + me.warp) * TWO_GATES + two) * 32 + lane];
                        sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
                    }
                    r[u][0][2 * two] = sum.x, r[u][1][2 * two] = sum.y;
                    r[u][0][2 * two + 1] = sum.z, r[u][1][2 * two + 1] = sum.w;
                }
            }
        }
#endif
#if PROJECTS && R > 0
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (length[u][e] > 0 && t == (q.reverse ? length[u][e] - 1 : 0))
#pragma unroll
                    for (int k = 0; k < R; k++) r[u][e][k] += q.addend[((long long)(row0(u) + 2 * me.q + e) * R + k) * H + feature0(u) + g];
#endif
        wait_for_copies<DEPTH - 1>();
        __syncwarp();
        S kept[MY_UNITS][2][AT_LEAST_1(SLOTS)], gate[MY_UNITS][2][AT_LEAST_1(GATES)];
        OfRow row[ROW_SETS][2];
        Live live[MY_UNITS][2];
        auto inputs = [&](int u, int e, S *a, S *before) {
            const u32 *slot = ring + (u * DEPTH + i % DEPTH) * SLOT;
#pragma unroll
            for (int block = 0; block < A; block++)
                a[block] = number(slot + block * UNIT_WORDS, first_number + e * 8) + (block < G ? bias[(group_of(u) * 8 + g) * A + block] : 0);
#pragma unroll
            for (int k = 0; k < K; k++) before[k] = state[u][k][e];
        };
#pragma unroll
        for (int set = 0; set < ROW_SETS; set++)
#pragma unroll
            for (int e = 0; e < 2; e++) first_of_row(nullptr, row[set][e]);
        // What a phase sets of the values that are kept, and of gates.
        auto store = [&](auto phase, int u, const S (&kept)[2][AT_LEAST_1(SLOTS)], const S (&gate)[2][AT_LEAST_1(GATES)]) {
            using E = decltype(phase);
            if (KEEPS && row0(u) < batch && (!PADDED || feature0(u) < H)) {
                u32 *record = at.record_at(t, at.record_of(feature0(u), row0(u))) + lane * KEPT_WORDS;
#pragma unroll
                for (int slot = 0; slot < SLOTS; slot++) {
                    if (!E::sets_k(slot)) continue;
                    const S x = kept[0][slot], y = kept[1][slot];
                    if (KEPT_WORDS == 1) record[slot * 32] = IN_HALF(slot) ? two_halves(x, y) : pair(x, y);
                    else *(float2 *)(record + slot * 64) = {(float)x, (float)y};
                }
            }
            if (!(RETURNS) || !q.gates) return;
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const long long row = (long long)start + row0(u) + 2 * me.q + e;
                if (at.has(length[u][e], t))
#pragma unroll
                    for (int k = 0; k < GATES; k++)
                        if (E::sets_gate(k)) q.gates[(row * GATES + k) * H + feature0(u) + g] = to_t(gate[e][k]);
            }
        };
        auto store_of_row = [&](auto phase, int u) {
            if (!(KEEPS) || row0(u) >= batch || feature0(u) >= H || g) return;
            u32 *record = at.record_at(t, at.record_of(feature0(u), row0(u))) + SLOTS * 32 * KEPT_WORDS + 2 * me.q;
#pragma unroll
            for (int e = 0; e < 2; e++) {
                S of_row[AT_LEAST_1(ROW_SLOTS)];
                keep_of_row(row[DIRECT ? u % TILES : u][e], of_row);
#pragma unroll
                for (int k = 0; k < ROW_SLOTS; k++)
                    if (decltype(phase)::sets_row(k)) record[k * 8 + e] = __float_as_uint(of_row[k]);
            }
        };
#if LEVELS
        auto exchange = [&](auto of) {
            using E = decltype(of);
            S x[MY_UNITS][2][E::VALUES];
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++) {
                if (!is_unit(u)) continue;
                S some_kept[2][AT_LEAST_1(SLOTS)], some_gates[2][AT_LEAST_1(GATES)];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    S a[AT_LEAST_1(A)], before[K];
                    inputs(u, e, a, before);
                    E::phase(a, r[u][e], before, own[u], row[DIRECT ? u % TILES : u][e], live[u][e], x[u][e], some_kept[e], some_gates[e]);
                }
                store(of, u, some_kept, some_gates);
            }
            reduce<E, MY_UNITS>(x, row, me, reduced, at.rows_at(i), late, q.error, is_unit, tile_of, group_of);
#pragma unroll
            for (int u = 0; u < MY_UNITS; u++)
                if (is_unit(u)) store_of_row(of, u);
        };
        @REDUCE@
#endif
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++) {
            if (!is_unit(u)) continue;
#pragma unroll
            for (int e = 0; e < 2; e++) {
                S a[AT_LEAST_1(A)], before[K], after[K];
                inputs(u, e, a, before);
                step(a, r[u][e], before, own[u], row[DIRECT ? u % TILES : u][e], live[u][e], after, kept[u][e], gate[u][e]);
#pragma unroll
                for (int k = 0; k < K; k++)
                    if (at.has(length[u][e], t)) state[u][k][e] = after[k];
            }
        }
        hand_on(i + 1);
#if COUPLED
        arrive();
#endif
        __syncwarp();
        fetch(i + DEPTH);
        u32 *out = (u32 *)q.out + (long long)start * ROW;
#pragma unroll
        for (int u = 0; u < MY_UNITS; u++) {
            if (!is_unit(u)) continue;
            const Words words = MASKED ? as_words(state[u][0][0], state[u][0][1], g) : handed[u];
            each_word(words, g, [&](int second, int e, u32 x) {
                if ((!PADDED || feature0(u) / HALVES + WORD_OF(g) < ROW) && at.has(length_of(u, e), t)) out[place_of(u, second)] = x;
            });
            store(Last(), u, kept[u], gate[u]);
            store_of_row(Last(), u);
            if (!(RETURNS) || !q.states) continue;
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const long long row = (long long)start + row0(u) + 2 * me.q + e;
                if (at.has(length[u][e], t))
#pragma unroll
                    for (int k = 0; k < K; k++) q.states[(row * K + k) * H + feature0(u) + g] = to_t(state[u][k][e]);
            }
        }
#if COUPLED
        wait_for_others();
#endif
    }
#pragma unroll
    for (int u = 0; u < MY_UNITS; u++) {
        const int feature = feature0(u) + g;
        if (!is_unit(u) || feature >= H) continue;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int b = row0(u) + 2 * me.q + e;
            if (b >= batch) continue;
#pragma unroll
            for (int k = 0; k < K; k++) q.final[((long long)k * batch + b) * H + feature] = state[u][k][e];
        }
    }
#if COUPLED && (EXCHANGE == 1 || SPLIT > 1)
    all_blocks();  // no block ends while another still writes to it
#endif
}
#if MODELS
KERNEL(sequence_forward, Sequence, WARPS * 32) {
    const long long model = q.first + blockIdx.y, states = model * K * q.batch * H;
    Sequence mine = q;
    mine.a += model * q.rows * A * H;
    if (q.bias) mine.bias += model * q.of_bias;
    mine.weights += model * q.of_weights;
    mine.initial += states;
    mine.own += model * OWN * H;
    if (q.mask) mine.mask += model * q.batch * H;
    mine.out += model * q.rows * H;
    if (q.before) mine.before += model * q.rows * H;
    mine.final += states;
    if (q.addend) mine.addend += model * q.batch * R * H;
    if (q.reduced) mine.reduced += model * ((q.batch + ROWS - 1) / ROWS) * q.steps * ALL_WORDS * BLOCKS * ROWS;
    if (q.kept) mine.kept += model * q.steps * KEPT_OF_A_STEP;
    of_model(mine);
}
#endif
