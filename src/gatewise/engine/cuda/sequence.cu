// The whole sequence in one launch.
//
// The blocks that share a tile of 8·TILES sequences hold the recurrent weights in registers, as fragments of the tensor
// cores, over all steps; each has some features. In a step a block multiplies what the last step left, computes its
// features and hands them on: through its own shared memory (EXCHANGE 0), that of its cluster (1), or global memory (2),
// where the others poll the words themselves until none is the mark that they were filled with.
//
// Forward, a row of the product is one gate of one feature, two gates of 8 features a tile of 16; a lane has one feature of
// two sequences, with all gates. Backward, a row is a feature, 16 to a tile.
//
// SPLIT blocks of a cluster and WSPLIT warps of a block share the features that a product sums over, and add their sums.
// A warp has GROUPS groups of rows, and PASS tiles of sequences at a time; where they are STAGED, a block also fetches so many
// at a time, as its shared memory does not hold all. Backward, a tile of 16 rows has EIGHTS times 8 features, and 0 below. What a step needs from global memory comes DEPTH
// steps ahead. H features, A blocks of inputs (gates, then noise), G gates, R recurrent products, K states, OWN parameters,
// SLOTS values that are kept of a feature, ROW_SLOTS of a sequence. A step that reduces along the features has LEVELS exchanges.
#define H @H@
#define A @A@
#define G @G@
#define R @R@
#define K @K@
#define OWN @OWN@
#define SLOTS @SLOTS@
#define ROW_SLOTS @ROW_SLOTS@
#define LEVELS @LEVELS@
#define GATES @GATES@
#define CARRIED @CARRIED@  // gradients of every step's states but the first, and of returned gates
#define PROJECTS @PROJECTS@
#define ONE_GRADIENT @ONE_GRADIENT@
#define BLOCKS @BLOCKS@
#define SPLIT @SPLIT@
#define WSPLIT @WSPLIT@
#define GROUPS @GROUPS@
#define TILES @TILES@
#define PASS @PASS@
#define DEPTH @DEPTH@
#define EXCHANGE @EXCHANGE@
#define STAGED @STAGED@
#define EIGHTS @EIGHTS@
#define MODELS @MODELS@  // whether a launch has several models: its grid's y, which begins with model `first`
#define WARPS @WARPS@
// What is known of every call: whether all sequences have all steps; whether values are kept, gates and states returned, and
// the hidden state masked, or a call says so.
#define FULL @FULL@
#define KEEPS @KEEPS@
#define RETURNS @RETURNS@
#define MASKED @MASKED@
#define EXACT @EXACT@  // of float32: whether a product takes all of its digits, and not TF32's alone

#define HALVES (KIND == 0 ? 1 : 2)  // numbers in a word
#define ROWS (8 * TILES)            // sequences of a tile
#define OF_BLOCK @OF_BLOCK@  // features of a block
#define OF_SPLIT (OF_BLOCK * SPLIT)
#define PADDED (BLOCKS * OF_BLOCK > H)  // whether the last block has features that are not there
#define UNITS (OF_BLOCK / 8 * TILES)  // 8 features of 8 sequences
#define SUMS (SPLIT * WSPLIT)
#define DIRECT (SUMS == 1)  // the lane that multiplies has all of the sum
#define MARK 0xFFFFFFFFu    // of words that nobody has written: a NaN that no conversion makes
#define PATIENCE 4000000
#define CHUNK 16  // words of a row that a step of the product takes: two tiles of the tensor cores
#define FIRST (EXACT ? 4 : 0)  // words at the beginning of shared memory that hold HIGH_DIGITS
#define HELD (STAGED ? 8 * PASS : ROWS)  // sequences that a block has in shared memory
// With the sums' barrier between reading what was fetched and the next writing, once; and the sums, which only this block
// writes and reads, with the barrier of the next step's fetch.
#define BUFFERS (STAGED || (EXCHANGE == 2 && SUMS > 1) ? 1 : 2)
#define SUM_BUFFERS (EXCHANGE == 2 && SPLIT == 1 ? 1 : 2)
#define KEPT_WORDS (KIND == 1 ? 1 : 2)                // of one value for two sequences
#define IN_HALF(slot) ((slot) < 64 && @IN_HALF@ull >> ((slot) & 63) & 1)  // whether one word has two as float16, which has more digits than bfloat16

// Words between rows in shared memory, so that a warp's reads fall into different banks.
#define SPREAD(words) ((words) / 32 * 32 + ((words) % 32 <= 16 ? 16 : 48))

// A word as it waits for the product.
DEV u32 factor(u32 word) {
#if KIND == 0 && !EXACT
    return to_tf32(__uint_as_float(word));
#else
    return word;
#endif
}
DEV void multiply(float *c, const u32 *a, u32 b0, u32 b1) {
#if KIND == 0
    multiply_tf32(c, a, b0, b1);
#elif KIND == 1
    multiply_bfloat16(c, a, b0, b1);
#else
    multiply_half(c, a, b0, b1);
#endif
}
#if EXACT
// A float32 number of 24 digits as `high`, its first 11, and the rest, `low`, which has no rounding error. A tensor core
// reads TF32's 11 digits of a word: of `low` it leaves out what is below 2^-21 of the number.
// `mask` is HIGH_DIGITS, from shared memory: a compiler that knew it would split the weights once for all steps, into twice as
// many registers.
#define HIGH_DIGITS 0xFFFFE000u
DEV void split(u32 word, u32 &high, u32 &low, u32 mask) {
    high = word & mask;
    low = __float_as_uint(__uint_as_float(word) - __uint_as_float(high));
}
// Adds to c[j] the product of a tile's 16 words and those of x[j]. Tensor cores cut off what their sums have below the last
// digit, so only the sums of one tile are theirs; what these come to is added with rounding.
template <int COUNT>
DEV void multiply_exactly(float (*c)[4], const u32 *first, const u32 *second, const uint4 *x, u32 mask) {
    float d[COUNT][4];
#pragma unroll
    for (int j = 0; j < COUNT; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) d[j][i] = 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) split(half ? second[i] : first[i], high[i], low[i], mask);
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            u32 of_x[2][2];  // [number][high, low]
            split(half ? x[j].z : x[j].x, of_x[0][0], of_x[0][1], mask);
            split(half ? x[j].w : x[j].y, of_x[1][0], of_x[1][1], mask);
            multiply(d[j], low, of_x[0][0], of_x[1][0]);
            multiply(d[j], high, of_x[0][1], of_x[1][1]);
            multiply(d[j], high, of_x[0][0], of_x[1][0]);
        }
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) c[j][i] += d[j][i];
}
#endif
DEV u32 pair(S low, S high) { return KIND == 1 ? two_bfloat16(low, high) : two_halves(low, high); }
// Number i of words in shared memory.
DEV S number(const u32 *words, int i) {
#if KIND == 0
    return __uint_as_float(words[i]);
#else
    return from_t(((const T *)words)[i]);
#endif
}

// Two numbers of a lane, its feature's of sequences 2q and 2q + 1 of a unit, as words: with 16 bits two neighbouring lanes
// exchange, and the one with the even feature has the first sequence.
struct Words { u32 word[3 - HALVES]; };
DEV Words as_words(S first, S second, int feature) {
    Words words;
#if KIND == 0
    words.word[0] = __float_as_uint(first);
    words.word[1] = __float_as_uint(second);
#else
    S other = __shfl_xor_sync(0xffffffffu, feature & 1 ? first : second, 4);
    words.word[0] = feature & 1 ? pair(other, second) : pair(first, other);
#endif
    if (EXCHANGE == 2)
        for (int i = 0; i < 3 - HALVES; i++)
            if (words.word[i] == MARK) words.word[i] = 0x7FFF7FFFu;  // a NaN as well
    return words;
}
// Which of the lane's two sequences its first word is of, and which of the unit's words; in 32 bits the second is the same word
// of the other sequence. each_word calls put(0 or 1, the lane's sequence, word) for each.
#define FIRST_OF_TWO(feature) (HALVES == 2 ? (feature) & 1 : 0)
#define WORD_OF(feature) (HALVES == 2 ? (feature) >> 1 : (feature))
template <class Put> DEV void each_word(const Words &words, int feature, Put put) {
#if KIND == 0
    put(0, 0, words.word[0]);
    put(1, 1, words.word[1]);
#else
    put(0, feature & 1, words.word[0]);
#endif
}

// Where a lane begins to read the words of a row of sequences that it multiplies.
template <int WORDS> DEV int read_from(int part, int g, int q) {
    constexpr int CHUNKS = (WORDS + CHUNK - 1) / CHUNK, MINE = (CHUNKS + WSPLIT - 1) / WSPLIT;
    return pinned(g * SPREAD(WORDS) + part * MINE * CHUNK + q * 4);
}
// Adds to c the rows of a warp (in registers, M tiles of 16) times the rows of `words` (in shared memory).
template <int M, int WORDS>
DEV void multiply_all(float (*c)[PASS][4], const u32 (*weights)[2][M][4], const u32 *words, int tile, int part, int place) {
    constexpr int STRIDE = SPREAD(WORDS), CHUNKS = (WORDS + CHUNK - 1) / CHUNK, MINE = (CHUNKS + WSPLIT - 1) / WSPLIT;
    constexpr int TWICE = !EXACT && M * PASS <= 4;  // two sums, where one would wait for itself
    float d[TWICE ? M : 1][TWICE ? PASS : 1][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int j = 0; j < PASS; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                c[m][j][i] = 0;
                if (TWICE) d[m][j][i] = 0;
            }
#if EXACT
    SHARED
    const u32 mask = read_anew((const u32 *)shared_memory);
#endif
#pragma unroll
    for (int k = 0; k < MINE; k++) {
        const int chunk = part * MINE + k;
        if (CHUNKS % WSPLIT && chunk >= CHUNKS) continue;
        uint4 x[PASS];
#pragma unroll
        for (int j = 0; j < PASS; j++)
            if (tile + j < TILES) x[j] = *(const uint4 *)(words + ((STAGED ? 0 : tile) + j) * 8 * STRIDE + place + k * CHUNK);
#if EXACT
#pragma unroll
        for (int m = 0; m < M; m++) multiply_exactly<PASS>(c[m], weights[k][0][m], weights[k][1][m], x, mask);
#else
#pragma unroll
        for (int j = 0; j < PASS; j++) {
            if (tile + j >= TILES) continue;
#pragma unroll
            for (int m = 0; m < M; m++) multiply(c[m][j], weights[k][0][m], x[j].x, x[j].y);
#pragma unroll
            for (int m = 0; m < M; m++) multiply(TWICE ? d[m][j] : c[m][j], weights[k][1][m], x[j].z, x[j].w);
        }
#endif
    }
    if (TWICE)
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int j = 0; j < PASS; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) c[m][j][i] += d[m][j][i];
}

template <int V> DEV void read_words(u32 *words, const u32 *from) {
    if (V == 1) words[0] = read_shared_word(from);
    else {
        const uint4 x = read_shared_words(from);
        words[0] = x.x, words[1] = x.y, words[2] = x.z, words[3] = x.w;
    }
}

// Words [first, first + WORDS) of `count` rows of global memory, of ROW words each, to shared memory; 0 for other rows and
// beyond the row's end. Polls until none is a mark.
template <int ROW, int WORDS>
DEV void fetch_rows(const u32 *rows, int first, u32 *to, int count, bool &late, int *error) {
    constexpr int STRIDE = SPREAD(WORDS), V = ROW % 4 ? 1 : 4, PIECES = WORDS / V;
    constexpr int EACH = (HELD * PIECES + WARPS * 32 - 1) / (WARPS * 32), AT_ONCE = EACH < 8 ? EACH : 8;
#pragma unroll 1
    for (int begun = 0; begun < EACH; begun += AT_ONCE) {
        u32 x[AT_ONCE][V];
        const u32 *from[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = threadIdx.x + (begun + k) * WARPS * 32, row = i / PIECES, word = first + i % PIECES * V;
            from[k] = row < count && word < ROW ? rows + (long long)row * ROW + word : nullptr;
#pragma unroll
            for (int v = 0; v < V; v++) x[k][v] = 0;
            if (from[k]) read_words<V>(x[k], from[k]);
        }
        for (int waited = 0; !late; waited++) {
            bool missing = false;
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
#pragma unroll
                for (int v = 0; v < V; v++) missing |= x[k][v] == MARK;
            if (!missing) break;
            if (waited > PATIENCE) {
                late = true;
                *error = 1;
            }
            YIELD();
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
                if (from[k]) read_words<V>(x[k], from[k]);
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = threadIdx.x + (begun + k) * WARPS * 32, row = i / PIECES, word = i % PIECES * V;
            if (row < HELD)
#pragma unroll
                for (int v = 0; v < V; v++) to[row * STRIDE + word + v] = factor(x[k][v]);
        }
    }
}

DEV void barrier_of_sums() {
#if SPLIT > 1
    cluster_arrive();
    cluster_wait();
#else
    __syncthreads();
#endif
}
// Between writing what the next step multiplies and reading it.
DEV void arrive() {
#if EXCHANGE == 1 && SPLIT == 1
    cluster_arrive();
#elif EXCHANGE != 2
    __syncthreads();
#endif
}
DEV void wait_for_others() {
#if EXCHANGE == 1 && SPLIT == 1
    cluster_wait();
#endif
}
DEV void all_blocks() {
#if EXCHANGE == 1 || SPLIT > 1
    cluster_arrive();
    cluster_wait();
#else
    __syncthreads();
#endif
}
template <class X> DEV void hand_to(X *place, int block, X x) {
#if EXCHANGE == 1 || SPLIT > 1
    write_to_block(place, block, x);
#else
    *place = x;
#endif
}

// What a block is: its features, its sequences, and each warp's part.
struct Part {
    int warp, lane, g, q, group, share, rank, cluster, place, first, count;
    METHOD Part(int batch) {
        warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane >> 2, q = lane & 3;
        group = warp / WSPLIT, share = warp % WSPLIT;
        rank = blockIdx.x % BLOCKS, cluster = rank / SPLIT, place = rank % SPLIT;
        first = blockIdx.x / BLOCKS * ROWS, count = min(ROWS, batch - first);
    }
};
#define ROW (H / HALVES)  // words of a row of features
#define FEATURE_GROUPS ((H + 7) / 8)
#define RECORD (SLOTS * 32 * KEPT_WORDS + ROW_SLOTS * 8)  // words that are kept of a unit: each value, then what its sequences have
#define KEPT_OF_A_STEP ((long long)FEATURE_GROUPS * ((q.batch + 7) / 8) * RECORD)
#define UNIT_WORDS (32 * (3 - HALVES))  // of 8 features of 8 sequences
#define ALL_WORDS @ALL_WORDS@  // that a block hands on of a sequence in all exchanges of a step
#if !LEVELS
#define REDUCED 0
#endif
#define COUPLED (R > 0 || LEVELS > 0)
#define ROW_SETS (DIRECT ? TILES : MY_UNITS)  // tiles of sequences that a warp has, as many times as it has one
#define AT_LEAST_1(x) ((x) > 0 ? (x) : 1)
#define OWN_PART (EXCHANGE == 1 && SPLIT > 1)  // a block multiplies its own features, and all add their sums

// What forward and backward have in common: which step, row and feature is whose.
template <class Arguments> struct Layout {
    const Arguments &q;
    const Part me;
    const int batch, tiles, kept_of_a_step, steps;
    METHOD Layout(const Arguments &given)
        : q(given), me((int)given.batch), batch((int)given.batch), tiles((batch + 7) / 8), kept_of_a_step(FEATURE_GROUPS * tiles * RECORD),
          steps(me.count <= 0 ? 0 : !FULL && given.lengths ? given.lengths[me.first] : (int)given.steps) {}
    METHOD int time_of(int i) const { return q.reverse ? steps - 1 - i : i; }
    METHOD int start_of(int t) const { return !FULL && q.starts ? q.starts[t] : t * batch; }
    // How many of the block's sequences have step t.
    METHOD int alive_at(int t) const {
        if (FULL) return me.count;
        const int size = q.starts ? q.starts[t + 1] - q.starts[t] : batch;
        return max(0, min(me.count, size - me.first));
    }
    METHOD int length_of(int b) const { return b >= batch ? 0 : !FULL && q.lengths ? q.lengths[b] : (int)q.steps; }
    // Whether a sequence of this length has step t.
    METHOD bool has(int length, int t) const { return FULL ? length > 0 : t < length; }
    // Where what is kept of a unit lies, within that of step t and in all.
    METHOD int record_of(int feature, int b) const { return (feature / 8 * tiles + b / 8) * RECORD; }
    METHOD u32 *record_at(int t, int record) const { return (u32 *)q.kept + (long long)t * kept_of_a_step + record; }
    // Where the blocks with these sequences hand on the words of step i that are reduced, for EXCHANGE 2.
    METHOD u32 *rows_at(int i) const {
        return q.reduced ? q.reduced + ((long long)(blockIdx.x / BLOCKS) * q.steps + i) * ALL_WORDS * BLOCKS * ROWS : nullptr;
    }
};

// What a sequence has of values that are one number for it; what a feature of a sequence has from one phase to a later one.
struct OfRow { @OF_ROW@ };
struct Live { @LIVE@ };
DEV void first_of_row(const S *k, OfRow &row) {
@KNOWN@
}
@EXCHANGES@
