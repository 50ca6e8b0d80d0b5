// Reductions along the features of a sequence: the step then has phases, and what one phase needs reduced is exchanged
// before the next. The lanes put what they computed into shared memory, where some lanes reduce each value of each sequence
// of the block; then the blocks that share the sequences exchange their parts, in their cluster's shared memory or in global
// memory, where they poll the words until none is a mark. Padded features take no part.
//
// A mean and the squares of what differs from it are reduced together, as moments: a part is a sum, and the squares about the
// part's own mean. They come from differences to the part's first feature. As this is one of the features, what is taken off
// in the end is at most so many times what is left, and few digits are lost.
//
// An Exchange has MOMENTS, ADDED values and MAXES, VALUES in all; the words of those before it are BEFORE.
#define STRIDE (OF_BLOCK + 4)  // numbers between rows in shared memory, so that a warp writes to different banks
#define PARTS (@ROW_VALUES@ * ROWS * STRIDE)             // of the exchange that has most values
#define TOTALS (@ROW_WORDS@ * ROWS)                      // of that which has most words
#define INBOX (BLOCKS == 1 ? 0 : (EXCHANGE == 2 ? @ROW_WORDS@ : ALL_WORDS) * BLOCKS * ROWS)
#define REDUCED (PARTS + TOTALS + INBOX)                 // words of shared memory

DEV int features_of(int block) { return max(0, min(OF_BLOCK, H - block * OF_BLOCK)); }
DEV S one_of(int features) { return features == OF_BLOCK ? (S)1 / OF_BLOCK : features ? 1 / (S)features : 0; }
template <class E> DEV int word_of(int value) { return value < E::MOMENTS ? 2 * value : E::MOMENTS + value; }
template <class E> DEV bool is_most(int value) { return E::MAXES && value >= E::MOMENTS + E::ADDED; }
// Lanes that share a value of a sequence: each has four features at least.
template <class E> struct Lanes {
    static constexpr int at_most(int count) {
        return 2 * count * E::VALUES * ROWS <= WARPS * 32 && 2 * count <= 32 && 8 * count <= OF_BLOCK ? at_most(2 * count) : count;
    }
    static constexpr int count = at_most(1);
};
// Over as many neighbouring lanes.
template <int COUNT> DEV S sum_over(S x) {
#pragma unroll
    for (int other = COUNT / 2; other; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
template <int COUNT> DEV S most_over(S x) {
#pragma unroll
    for (int other = COUNT / 2; other; other /= 2) x = gw_maximum(x, __shfl_xor_sync(0xffffffffu, x, other));
    return x;
}

// A value of this block's features, from LANES lanes that each have some: its sum or maximum, and its squares.
template <class E, int LANES> DEV void reduce_in_block(const S *row, int value, int lane, int features, S *part) {
    const S first = value < E::MOMENTS ? row[0] : 0;
    S sum = 0, squares = 0, most = -INFINITY;
#pragma unroll
    for (int begun = 0; begun < OF_BLOCK; begun += 4 * LANES) {
        if (OF_BLOCK % (4 * LANES) && begun + 4 * lane >= OF_BLOCK) continue;
        const float4 four = *(const float4 *)(row + begun + 4 * lane);
        const S x[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (BLOCKS * OF_BLOCK > H && begun + 4 * lane + k >= features) continue;
            sum += x[k] - first;
            if (E::MOMENTS) squares += (x[k] - first) * (x[k] - first);
            if (E::MAXES) most = gw_maximum(most, x[k]);
        }
    }
    sum = sum_over<LANES>(sum);
    if (E::MOMENTS) squares = sum_over<LANES>(squares);
    if (E::MAXES) most = most_over<LANES>(most);
    part[0] = is_most<E>(value) ? most : features ? features * first + sum : 0;
    part[1] = squares - sum * sum * one_of(features);
}

// What the parts of the blocks come to: COUNT lanes have every COUNT-th; read(w, block) is its sum or maximum, or (w = 1)
// its squares.
template <class E, int COUNT, class Read> DEV void add_blocks(int value, int lane, Read read, S *total) {
    S sum = 0, squares = 0, most = -INFINITY;
#pragma unroll
    for (int k = 0; k < BLOCKS; k += COUNT) {
        if (k + lane >= BLOCKS) continue;
        sum += read(0, k + lane);
        if (E::MAXES) most = gw_maximum(most, read(0, k + lane));
    }
    sum = sum_over<COUNT>(sum);
    if (E::MAXES) most = most_over<COUNT>(most);
    if (E::MOMENTS) {
#pragma unroll
        for (int k = 0; k < BLOCKS; k += COUNT) {
            const int features = features_of(k + lane);
            if (k + lane >= BLOCKS || !features) continue;
            const S away = read(0, k + lane) * one_of(features) - sum * ((S)1 / H);
            squares += read(1, k + lane) + features * away * away;
        }
        squares = sum_over<COUNT>(squares);
    }
    total[0] = is_most<E>(value) ? most : sum;
    total[1] = squares;
}

#if BLOCKS > 1
// Hands a part on to all blocks: `place` is that of its first word and this block.
DEV void hand_part_on(S part, u32 *place) {
    const u32 bits = __float_as_uint(part), word = bits == MARK ? 0x7FFFFFFFu : bits;  // a NaN as well
#if EXCHANGE == 2
    write_shared_word(place, word);
#else
#pragma unroll
    for (int block = 0; block < BLOCKS; block++) write_word_to_block(place, block, word);
#endif
}
#endif

// What the blocks have written to `rows`, to this block's shared memory.
template <int WORDS> DEV void fetch_parts(const u32 *rows, u32 *inbox, bool &late, int *error) {
    constexpr int PIECES = WORDS * BLOCKS * ROWS / 4, EACH = (PIECES + WARPS * 32 - 1) / (WARPS * 32), AT_ONCE = EACH < 4 ? EACH : 4;
#pragma unroll 1
    for (int begun = 0; begun < EACH; begun += AT_ONCE) {
        u32 x[AT_ONCE][4];
        for (int waited = 0;; waited++) {
            bool missing = false;
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                const int i = threadIdx.x + (begun + k) * WARPS * 32;
                if (i < PIECES) read_words<4>(x[k], rows + i * 4);
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
}

// From what a block's features have, [values][ROWS][STRIDE], to what all have, [words][ROWS]. `rows`, for EXCHANGE 2, is where
// the blocks hand on the words of this step: [ALL_WORDS][BLOCKS][ROWS], as they do in shared memory for EXCHANGE 1.
template <class E> DEV void reduce_over_blocks(const Part &me, S *memory, u32 *rows, bool &late, int *error) {
    constexpr int LANES = Lanes<E>::count, ITEMS = E::VALUES * ROWS, AT_ONCE = WARPS * 32 / LANES, BEFORE = E::BEFORE * BLOCKS * ROWS;
    const S *parts = memory;
    S *totals = memory + PARTS;
    [[maybe_unused]] u32 *inbox = (u32 *)(totals + TOTALS);
    const int lane = threadIdx.x % LANES;
#pragma unroll 1
    for (int begun = 0; begun < ITEMS; begun += AT_ONCE) {
        const bool there = begun + threadIdx.x / LANES < ITEMS;
        const int item = there ? begun + threadIdx.x / LANES : 0, value = item / ROWS, row = item % ROWS;
        const int words = value < E::MOMENTS ? 2 : 1, word = word_of<E>(value);
        S part[2];
        reduce_in_block<E, LANES>(parts + item * STRIDE, value, lane, features_of(me.rank), part);
        if (!there || lane) continue;
#pragma unroll
        for (int w = 0; w < 2; w++) {
            if (w >= words) continue;
#if BLOCKS == 1
            totals[(word + w) * ROWS + row] = part[w];
#else
            hand_part_on(part[w], (EXCHANGE == 2 ? rows : inbox) + BEFORE + ((word + w) * BLOCKS + me.rank) * ROWS + row);
#endif
        }
#if BLOCKS > 1 && EXCHANGE == 1
        u32 *mine = inbox + BEFORE + word * BLOCKS * ROWS + row;
        S others[2][BLOCKS];
        for (bool missing = true; missing;) {
            missing = false;
#pragma unroll
            for (int w = 0; w < 2; w++)
#pragma unroll
                for (int k = 0; k < BLOCKS; k++) {
                    if (w >= words) continue;
                    const u32 x = read_word_of_block(mine + (w * BLOCKS + k) * ROWS);
                    others[w][k] = __uint_as_float(x), missing |= x == MARK;
                }
            if (missing) YIELD();
        }
        // The other blocks write there again after a barrier that each step has.
#pragma unroll
        for (int w = 0; w < 2; w++)
#pragma unroll
            for (int k = 0; k < BLOCKS; k++)
                if (w < words) mine[(w * BLOCKS + k) * ROWS] = MARK;
        add_blocks<E, 1>(value, 0, [&](int w, int k) { return others[w][k]; }, part);
#pragma unroll
        for (int w = 0; w < 2; w++)
            if (w < words) totals[(word + w) * ROWS + row] = part[w];
#endif
    }
#if BLOCKS > 1 && EXCHANGE == 2
    fetch_parts<E::WORDS>(rows + BEFORE, inbox, late, error);
    __syncthreads();
#pragma unroll 1
    for (int begun = 0; begun < ITEMS; begun += AT_ONCE) {
        const bool there = begun + threadIdx.x / LANES < ITEMS;
        const int item = there ? begun + threadIdx.x / LANES : 0, value = item / ROWS, row = item % ROWS;
        const u32 *mine = inbox + word_of<E>(value) * BLOCKS * ROWS + row;
        S total[2];
        add_blocks<E, LANES>(value, lane, [&](int w, int k) { return __uint_as_float(mine[(w * BLOCKS + k) * ROWS]); }, total);
        if (!there || lane) continue;
#pragma unroll
        for (int w = 0; w < 2; w++)
            if (w < (value < E::MOMENTS ? 2 : 1)) totals[(word_of<E>(value) + w) * ROWS + row] = total[w];
    }
#endif
}

// The reductions of an Exchange over what its phase computed, x[units][2][values]; fills in the rows' values.
template <class E, int MINE, class X, class Rows, class IsUnit, class TileOf, class GroupOf>
DEV void reduce(
    const X &x, Rows &row, const Part &me, S *memory, u32 *rows, bool &late, int *error, IsUnit is_unit, TileOf tile_of, GroupOf group_of
) {
#pragma unroll
    for (int u = 0; u < MINE; u++) {
        if (!is_unit(u)) continue;
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int value = 0; value < E::VALUES; value++)
                memory[(value * ROWS + tile_of(u) * 8 + 2 * me.q + e) * STRIDE + group_of(u) * 8 + me.g] = x[u][e][value];
    }
    __syncthreads();
    reduce_over_blocks<E>(me, memory, rows, late, error);
    __syncthreads();
#pragma unroll
    for (int set = 0; set < (DIRECT ? TILES : MINE); set++) {
        if (!is_unit(set)) continue;
#pragma unroll
        for (int e = 0; e < 2; e++) {
            S total[E::WORDS];
#pragma unroll
            for (int word = 0; word < E::WORDS; word++)
                total[word] = memory[PARTS + word * ROWS + tile_of(set) * 8 + 2 * me.q + e];
            E::rows(total, row[set][e]);
        }
    }
}
DEV void clear_inbox(S *memory) {
    for (int i = threadIdx.x; BLOCKS > 1 && EXCHANGE == 1 && i < INBOX; i += WARPS * 32) ((u32 *)memory)[PARTS + TOTALS + i] = MARK;
}
