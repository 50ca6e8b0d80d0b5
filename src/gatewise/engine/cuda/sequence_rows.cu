// Reductions along the features of a sequence: the step then has phases, and what one phase needs summed is exchanged
// before the next. A warp reduces what it computed, over its lanes by shuffles; a thread for each reduction and sequence
// adds up the parts of its block, and then those of the blocks that share the sequences: in its own shared memory, that of
// its cluster, or global memory, where it polls until no word is a mark. Padded features take no part.
//
// A mean and the squares of what differs from it are reduced together, as moments: a part is a sum and the squares about its
// own mean. In a warp these come from differences to the first of its features. As this is one of them, no more digits are
// lost than the number of these features has.
//
// An Exchange has MOMENTS, ADDED values and MAXES; the words of those before it are BEFORE.
#define SOURCES (DIRECT ? WARPS : OF_BLOCK / 8)  // parts of a block's features
#define WIDTH (OF_BLOCK / SOURCES)               // features of a part
#define ROW_WORDS @ROW_WORDS@                    // words of a sequence in the exchange that has most
#define SOURCE_WORDS (SOURCES * TILES * ROW_WORDS * 8)
#define TOTAL_WORDS (ROW_WORDS * ROWS)
#define INBOX_WORDS (BLOCKS == 1 ? 0 : (EXCHANGE == 2 ? ROW_WORDS : ALL_WORDS) * BLOCKS * ROWS)

template <bool MOST> DEV S combined(S x, S y) { return MOST ? gw_maximum(x, y) : x + y; }
DEV int features_from(int first, int width) { return max(0, min(width, H - first)); }
// 1 / n, which is known when this is compiled for all parts but the last ones.
DEV S reciprocal_of(int n, int width) { return n == width ? (S)1 / width : (S)1 / n; }

// COUNT values (1, 2, 4 or 8) over the eight lanes that have the same sequences: lane g gets the result of value g % COUNT.
template <int COUNT, bool MOST> DEV S scattered(S *x, int g) {
#pragma unroll
    for (int bit = 0; bit < 3; bit++) {
        const int other = 4 << bit;
        const bool odd = g >> bit & 1;
        if (1 << bit < COUNT) {
#pragma unroll
            for (int k = 0; k < COUNT >> (bit + 1); k++) {
                const S mine = odd ? x[2 * k + 1] : x[2 * k], sent = odd ? x[2 * k] : x[2 * k + 1];
                x[k] = combined<MOST>(mine, __shfl_xor_sync(0xffffffffu, sent, other));
            }
        } else x[0] = combined<MOST>(x[0], __shfl_xor_sync(0xffffffffu, x[0], other));
    }
    return x[0];
}
// Value g % COUNT.
template <int COUNT> DEV S chosen(const S *x, int g) {
    S value = x[0];
#pragma unroll
    for (int k = 1; k < COUNT; k++) value = g % COUNT == k ? x[k] : value;
    return value;
}
// Calls use(first value, COUNT as a type) for every eight of N values, and for the rest.
template <int COUNT> struct Eight { static constexpr int count = COUNT; };
template <int N, class Use> DEV void by_eights(Use use) {
#pragma unroll
    for (int first = 0; first + 8 <= N; first += 8) use(first, Eight<8>());
    if (N % 8) use(N / 8 * 8, Eight<(N % 8 > 4 ? 8 : N % 8 > 2 ? 4 : 2)>());
}

// What COUNT parts come to: n(k) features are in part k, of `all`; read(w, k) is its sum or maximum, or (w = 1) its squares.
template <class E, int COUNT, class Features, class Read>
DEV void combine(int value, S one_of_all, int width, Features n, Read read, S *result, S *squares) {
    const bool most = E::MAXES && value >= E::MOMENTS + E::ADDED;
    S total = most ? -INFINITY : 0, about = 0;
#pragma unroll
    for (int k = 0; k < COUNT; k++) total = most ? gw_maximum(total, read(0, k)) : total + read(0, k);
    *result = total;
    if (value >= E::MOMENTS) return;
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        if (!n(k)) continue;
        const S away = read(0, k) * reciprocal_of(n(k), width) - total * one_of_all;
        about += read(1, k) + n(k) * away * away;
    }
    *squares = about;
}

// What a warp's features come to, to its block's shared memory: [SOURCES][TILES][words][8 sequences].
template <class E, int MINE, class X, class IsUnit, class Feature0, class TileOf, class GroupOf>
DEV void reduce_in_warp(const X &x, const Part &me, S *sources, IsUnit is_unit, Feature0 feature0, TileOf tile_of, GroupOf group_of) {
    constexpr int M = E::MOMENTS, WORDS = E::WORDS;
#pragma unroll
    for (int set = 0; set < (DIRECT ? TILES : MINE); set++) {
        if (!is_unit(set)) continue;
        const int source = DIRECT ? me.warp : group_of(set), n = features_from(me.rank * OF_BLOCK + source * WIDTH, WIDTH);
        S first[AT_LEAST_1(2 * M) + 7], away[AT_LEAST_1(2 * M) + 7], squares[AT_LEAST_1(2 * M) + 7];
        S sum[AT_LEAST_1(2 * E::ADDED) + 7], most[AT_LEAST_1(2 * E::MAXES) + 7];
#pragma unroll
        for (int k = 0; k < AT_LEAST_1(2 * M) + 7; k++) first[k] = away[k] = squares[k] = 0;
#pragma unroll
        for (int k = 0; k < AT_LEAST_1(2 * E::ADDED) + 7; k++) sum[k] = 0;
#pragma unroll
        for (int k = 0; k < AT_LEAST_1(2 * E::MAXES) + 7; k++) most[k] = -INFINITY;
#pragma unroll
        for (int k = 0; k < 2 * M; k++) first[k] = __shfl_sync(0xffffffffu, x[set][k % 2][k / 2], me.q);
#pragma unroll
        for (int u = set; u < MINE; u += DIRECT ? TILES : MINE) {
            const bool there = feature0(u) + me.g < H;
#pragma unroll
            for (int e = 0; e < 2; e++) {
#pragma unroll
                for (int m = 0; m < M; m++) {
                    const S d = there ? x[u][e][m] - first[2 * m + e] : 0;
                    away[2 * m + e] += d, squares[2 * m + e] += d * d;
                }
#pragma unroll
                for (int m = 0; m < E::ADDED; m++) sum[2 * m + e] += there ? x[u][e][M + m] : 0;
#pragma unroll
                for (int m = 0; m < E::MAXES; m++)
                    most[2 * m + e] = gw_maximum(most[2 * m + e], there ? x[u][e][M + E::ADDED + m] : -INFINITY);
            }
        }
        S *mine = sources + (source * TILES + tile_of(set)) * WORDS * 8 + 2 * me.q;
        by_eights<2 * M>([&](int begun, auto of) {
            constexpr int COUNT = decltype(of)::count;
            const S d = scattered<COUNT, false>(away + begun, me.g), s = scattered<COUNT, false>(squares + begun, me.g);
            const S from = chosen<COUNT>(first + begun, me.g), one = n ? reciprocal_of(n, WIDTH) : 0;
            const int k = begun + me.g;
            if (me.g >= COUNT || k >= 2 * M) return;
            mine[k / 2 * 16 + k % 2] = n ? n * from + d : 0;
            mine[k / 2 * 16 + 8 + k % 2] = s - d * d * one;
        });
        by_eights<2 * E::ADDED>([&](int begun, auto of) {
            const S value = scattered<decltype(of)::count, false>(sum + begun, me.g);
            const int k = begun + me.g;
            if (me.g < decltype(of)::count && k < 2 * E::ADDED) mine[(2 * M + k / 2) * 8 + k % 2] = value;
        });
        by_eights<2 * E::MAXES>([&](int begun, auto of) {
            const S value = scattered<decltype(of)::count, true>(most + begun, me.g);
            const int k = begun + me.g;
            if (me.g < decltype(of)::count && k < 2 * E::MAXES) mine[(2 * M + E::ADDED + k / 2) * 8 + k % 2] = value;
        });
    }
}

// What the blocks' features come to, to this block's shared memory: [words][ROWS]. `memory` has what this file keeps there;
// `rows`, for EXCHANGE 2, is where the blocks hand on the words of this step: [ALL_WORDS][BLOCKS][ROWS].
template <class E> DEV void reduce_over_blocks(const Part &me, S *memory, u32 *rows, bool &late, int *error) {
    const S *sources = memory;
    S *totals = memory + SOURCE_WORDS;
    u32 *inbox = (u32 *)(totals + TOTAL_WORDS);  // [words][BLOCKS][ROWS]
    constexpr int BEFORE = E::BEFORE * BLOCKS * ROWS;
    auto word_of = [&](int value) { return value < E::MOMENTS ? 2 * value : E::MOMENTS + value; };
    auto finish = [&](int value, int row, auto read) {
        S *place = totals + word_of(value) * ROWS + row;
        auto features = [&](int k) { return features_from(k * OF_BLOCK, OF_BLOCK); };
        combine<E, BLOCKS>(value, (S)1 / H, OF_BLOCK, features, read, place, place + ROWS);
    };
    for (int item = threadIdx.x; item < E::VALUES * ROWS; item += WARPS * 32) {
        const int value = item / ROWS, row = item % ROWS, words = value < E::MOMENTS ? 2 : 1;
        const S *part = sources + (row / 8 * E::WORDS + word_of(value)) * 8 + row % 8;
        auto read = [&](int w, int k) { return part[(k * TILES * E::WORDS + w) * 8]; };
        auto features = [&](int k) { return features_from(me.rank * OF_BLOCK + k * WIDTH, WIDTH); };
        const int of_block = features_from(me.rank * OF_BLOCK, OF_BLOCK);
        S x[2];
        combine<E, SOURCES>(value, of_block ? reciprocal_of(of_block, OF_BLOCK) : 0, WIDTH, features, read, x, x + 1);
#if BLOCKS == 1
        for (int w = 0; w < words; w++) totals[(word_of(value) + w) * ROWS + row] = x[w];
#else
#pragma unroll
        for (int w = 0; w < 2; w++) {
            if (w >= words) continue;
            const u32 bits = __float_as_uint(x[w]), word = bits == MARK ? 0x7FFFFFFFu : bits;  // a NaN as well
            const int place = BEFORE + ((word_of(value) + w) * BLOCKS + me.rank) * ROWS + row;
#if EXCHANGE == 2
            write_shared_word(rows + place, word);
#else
#pragma unroll
            for (int block = 0; block < BLOCKS; block++) write_word_to_block(inbox + place, block, word);
#endif
        }
#endif
#if BLOCKS > 1 && EXCHANGE == 1
        u32 *mine = inbox + BEFORE + word_of(value) * BLOCKS * ROWS + row;
        S parts[2][BLOCKS];
        for (bool missing = true; missing;) {
            missing = false;
#pragma unroll
            for (int w = 0; w < 2; w++)
#pragma unroll
                for (int k = 0; k < BLOCKS; k++) {
                    if (w >= words) continue;
                    const u32 word = read_word_of_block(mine + (w * BLOCKS + k) * ROWS);
                    parts[w][k] = __uint_as_float(word), missing |= word == MARK;
                }
            if (missing) YIELD();
        }
        // The other blocks write there again after a barrier that each step has.
#pragma unroll
        for (int w = 0; w < 2; w++)
#pragma unroll
            for (int k = 0; k < BLOCKS; k++)
                if (w < words) mine[(w * BLOCKS + k) * ROWS] = MARK;
        finish(value, row, [&](int w, int k) { return parts[w][k]; });
#endif
    }
#if BLOCKS > 1 && EXCHANGE == 2
    constexpr int PIECES = E::WORDS * BLOCKS * ROWS / 4, EACH = (PIECES + WARPS * 32 - 1) / (WARPS * 32), AT_ONCE = EACH < 8 ? EACH : 8;
#pragma unroll 1
    for (int begun = 0; begun < EACH; begun += AT_ONCE) {
        u32 x[AT_ONCE][4];
        for (int waited = 0;; waited++) {
            bool missing = false;
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                const int i = threadIdx.x + (begun + k) * WARPS * 32;
                if (i < PIECES) read_words<4>(x[k], rows + BEFORE + i * 4);
            }
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
                for (int v = 0; v < 4; v++) missing |= threadIdx.x + (begun + k) * WARPS * 32 < PIECES && x[k][v] == MARK;
            if (!missing || late) break;
            if (waited > PATIENCE) {
                late = true;
                *error = 1;
            }
            YIELD();
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = threadIdx.x + (begun + k) * WARPS * 32;
            if (i < PIECES)
#pragma unroll
                for (int v = 0; v < 4; v++) inbox[i * 4 + v] = x[k][v];
        }
    }
    __syncthreads();
    for (int item = threadIdx.x; item < E::VALUES * ROWS; item += WARPS * 32) {
        const u32 *mine = inbox + word_of(item / ROWS) * BLOCKS * ROWS + item % ROWS;
        finish(item / ROWS, item % ROWS, [&](int w, int k) { return __uint_as_float(mine[(w * BLOCKS + k) * ROWS]); });
    }
#endif
}

// The reductions of an Exchange over what its phase computed, x[units][2][values]; fills in the rows' values.
template <class E, int MINE, class X, class Rows, class IsUnit, class Feature0, class TileOf, class GroupOf>
DEV void reduce(
    const X &x, Rows &row, const Part &me, S *memory, u32 *rows, bool &late, int *error, IsUnit is_unit, Feature0 feature0, TileOf tile_of,
    GroupOf group_of
) {
    reduce_in_warp<E, MINE>(x, me, memory, is_unit, feature0, tile_of, group_of);
    __syncthreads();
    reduce_over_blocks<E>(me, memory, rows, late, error);
    __syncthreads();
    const S *totals = memory + SOURCE_WORDS;
#pragma unroll
    for (int set = 0; set < (DIRECT ? TILES : MINE); set++) {
        if (!is_unit(set)) continue;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            S total[E::WORDS];
#pragma unroll
            for (int word = 0; word < E::WORDS; word++) total[word] = totals[word * ROWS + tile_of(set) * 8 + 2 * me.q + e];
            E::rows(total, row[set][e]);
        }
    }
}
DEV void clear_inbox(S *memory) {
#if BLOCKS > 1 && EXCHANGE == 1
    for (int i = threadIdx.x; i < INBOX_WORDS; i += WARPS * 32) ((u32 *)memory)[SOURCE_WORDS + TOTAL_WORDS + i] = MARK;
#endif
}
