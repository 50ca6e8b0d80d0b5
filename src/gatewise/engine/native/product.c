/* Matrix products for the rows of one time step, with weights that are packed once for a whole sequence.

   A BLAS packs its operands in every call, which for the few rows of a step costs as much as the product. Here the
   weights are stored as panels of L columns, [panel][k][L], and a tile of R rows by C panels is summed in registers. */
/* A tile's sums, the weights for one k and one number of x must fit the 32 or 16 vector registers. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { TALL = 13, WIDE = 6 };
#else
enum { TALL = 6, WIDE = 3 };
#endif
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)

/* One of the two products that a tile sums: x, whose rows (or columns) are ld apart, times w; over K. */
typedef struct {
    const T *x;
    int64_t ld, K;
    const T *w;
    int64_t ldw;    /* from one k of w to the next; where it is packed, from one panel to the next */
    const T *ahead; /* a panel of packed w to fetch from memory meanwhile, or null */
} Part;

/* How a tile finds its factors: x[r ld + k] and packed w; the same, fetching ahead; x[r ld + k] and plain w; x[r + k ld]
   and plain w. */
enum { PACKED, FETCHING, PLAIN, OUTER };
/* Of packed weights, in numbers: so many are read from memory again in every step, and of so many k the panels that are
   multiplied, the next ones and x fit the second cache. */
enum { FAR = 1 << 18, DEEP = 2048 };

/* out[r, c] = init[r, c] + sum over both parts and their k of x[r, k] w[k, c], for R rows and C vectors of columns.
   R, C and the form are constants, so the compiler removes the branches. */
INLINE void tile(const int R, const int C, const int form, Part part, Part second, const T *init, int64_t ldi,
                 T *out, int64_t ldo) {
#define START(r)                                                                             \
    V a##r = {0}, b##r = {0}, c##r = {0}, d##r = {0};                                        \
    if (r < R && init) {                                                                     \
        const T *from = init + r * ldi;                                                      \
        a##r = *(const V *)from;                                                             \
        if (C > 1) b##r = *(const V *)(from + L);                                            \
        if (C > 2) c##r = *(const V *)(from + 2 * L), d##r = *(const V *)(from + 3 * L);     \
    }
    EACH_ROW(START)
    for (int turn = 0; turn < 2; turn++, part = second) {
        const T *restrict x = part.x, *restrict w = part.w;
        const int64_t ld = part.ld, K = part.K, packed = form == PACKED || form == FETCHING;
        const int64_t wk = packed ? L : part.ldw, wc = packed ? part.ldw : L;
        for (int64_t k = 0; k < K; k++, w += wk) {
            V w0 = *(const V *)w, w1 = w0, w2 = w0, w3 = w0;
            if (form == FETCHING) __builtin_prefetch(part.ahead + k * L, 0, 2);
            if (C > 1) w1 = *(const V *)(w + wc);
            if (C > 2) w2 = *(const V *)(w + 2 * wc), w3 = *(const V *)(w + 3 * wc);
#define ADD(r)                                                             \
    if (r < R) {                                                           \
        const T value = form == OUTER ? x[r + k * ld] : x[r * ld + k];     \
        a##r += w0 * value;                                                \
        if (C > 1) b##r += w1 * value;                                     \
        if (C > 2) c##r += w2 * value, d##r += w3 * value;                 \
    }
            EACH_ROW(ADD)
        }
    }
#define STORE(r)                                                                             \
    if (r < R) {                                                                             \
        T *to = out + r * ldo;                                                               \
        *(V *)to = a##r;                                                                     \
        if (C > 1) *(V *)(to + L) = b##r;                                                    \
        if (C > 2) *(V *)(to + 2 * L) = c##r, *(V *)(to + 3 * L) = d##r;                     \
    }
    EACH_ROW(STORE)
}

#define ROWS(r, ...)                                              \
    case r:                                                       \
        tile(r, __VA_ARGS__, part, second, init, ldi, out, ldo);  \
        break;
#define FEW_ROWS(...) ROWS(1, __VA_ARGS__) ROWS(2, __VA_ARGS__) ROWS(3, __VA_ARGS__)
#define SOME_ROWS(...) FEW_ROWS(__VA_ARGS__) ROWS(4, __VA_ARGS__) ROWS(5, __VA_ARGS__) ROWS(6, __VA_ARGS__)
#define MANY_ROWS(...)                                                                     \
    SOME_ROWS(__VA_ARGS__) ROWS(7, __VA_ARGS__) ROWS(8, __VA_ARGS__) ROWS(9, __VA_ARGS__)  \
    ROWS(10, __VA_ARGS__) ROWS(11, __VA_ARGS__) ROWS(12, __VA_ARGS__) ROWS(13, __VA_ARGS__)
#define TILES(name, CASES, ...)                                                                                   \
    static __attribute__((noinline)) void name(int rows, const Part *first, const Part *then, const T *init,     \
                                               int64_t ldi, T *out, int64_t ldo) {                               \
        const Part part = *first, second = *then;                                                                 \
        switch (rows) { CASES(__VA_ARGS__) }                                                                      \
    }
TILES(panels_1, MANY_ROWS, 1, PACKED)
TILES(panels_2, MANY_ROWS, 2, PACKED)
TILES(panels_4, SOME_ROWS, 4, PACKED)
TILES(fetching_2, MANY_ROWS, 2, FETCHING)
TILES(plain_1, MANY_ROWS, 1, PLAIN)
TILES(plain_4, SOME_ROWS, 4, PLAIN)
TILES(outer_1, MANY_ROWS, 1, OUTER)
TILES(outer_4, SOME_ROWS, 4, OUTER)

typedef void (*Tiles)(int, const Part *, const Part *, const T *, int64_t, T *, int64_t);

/* Go over M rows in blocks of about the same size, at most `most`. */
INLINE void each_block(Tiles tiles, int form, int64_t most, int64_t M, Part part, Part second, int64_t columns,
                       const T *init, int64_t ldi, T *out, int64_t ldo) {
    int64_t blocks = (M + most - 1) / most;
    const Part parts[] = {part, second};
    for (int64_t i = 0; i < blocks; i++) {
        int64_t low = M * i / blocks, rows = M * (i + 1) / blocks - low;
        const T *from = init ? init + low * ldi : NULL;
        T *to = out + low * ldo;
        part.x = parts[0].x + low * (form == OUTER ? 1 : part.ld);
        second.x = parts[1].x + low * (form == OUTER ? 1 : second.ld);
        /* One panel for each of the first blocks: so memory is read all the time, and not by the first block alone. */
        const int fetches = parts[0].ahead && i < 2;
        if (fetches) part.ahead = parts[0].ahead + i * part.ldw;
        if (columns >= L) {
            (fetches ? fetching_2 : tiles)((int)rows, &part, &second, from, ldi, to, ldo);
            continue;
        }
        /* Fewer columns than a vector has: nothing may be read or written past them. */
        T edge[TALL * L];
        for (int64_t r = 0; from && r < rows; r++) memcpy(edge + r * L, from + r * ldi, sizeof(T) * (size_t)columns);
        tiles((int)rows, &part, &second, from ? edge : NULL, L, edge, L);
        for (int64_t r = 0; r < rows; r++) memcpy(to + r * ldo, edge + r * L, sizeof(T) * (size_t)columns);
    }
}

#if defined(__clang__) || __GNUC__ >= 12
#if LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
/* Transpose L rows of L numbers: each round interleaves the first half of the vectors with the second, which moves one
   bit of the row's index into the column's. */
static void transpose(const T *from, int64_t ld, T *to) {
    V v[L], next[L];
    for (int i = 0; i < L; i++) v[i] = *(const V *)(from + i * ld);
    for (int span = 1; span < L; span *= 2) {
        for (int i = 0; i < L / 2; i++) {
            next[2 * i] = __builtin_shufflevector(v[i], v[i + L / 2], LOW);
            next[2 * i + 1] = __builtin_shufflevector(v[i], v[i + L / 2], HIGH);
        }
        memcpy(v, next, sizeof v);
    }
    for (int i = 0; i < L; i++) *(V *)(to + i * L) = v[i];
}
#endif

/* As gw_pack where wn is 1: several panels side by side, as long as they last, so that a page of w is read at once. */
static void pack_rows(const T *w, int64_t wk, int64_t N, int64_t K, T *packed) {
    enum { PANELS = 8 };
    for (int64_t first = 0; first < N; first += PANELS * L) {
        const int64_t end = N - first < PANELS * L ? N : first + PANELS * L;
        for (int64_t k = 0; k < K; k++)
            for (int64_t n = first; n < end; n += L)
                *(V *)(packed + n * K + k * L) = gw_load(w + k * wk + n, N - n < L ? (int)(N - n) : L);
    }
}

/* Pack w[N, K], whose element n, k is w[n wn + k wk], into panels, with 0 in the columns past N; wn or wk is 1. */
void gw_pack(const T *w, int64_t wn, int64_t wk, int64_t N, int64_t K, T *packed) {
    if (wn == 1) {
        pack_rows(w, wk, N, K, packed);
        return;
    }
    for (int64_t n = 0; n < N; n += L, packed += K * L) {
        const int64_t columns = N - n < L ? N - n : L;
        if (columns < L) memset(packed, 0, sizeof(T) * (size_t)(K * L));
        int64_t k = 0;
#ifdef LOW
        if (columns == L)
            for (; k + L <= K; k += L) transpose(w + n * wn + k, wn, packed + k * L);
#endif
        for (; k < K; k++)
            for (int64_t c = 0; c < columns; c++) packed[k * L + c] = w[(n + c) * wn + k];
    }
}

/* out[M, N] = init + x[M, K] · packed + the product of a second pair, which may be empty (K2 = 0). init is 0 (null), one
   row (ldi = 0) or like out, and may be out. `turned` goes through the columns backwards: of weights that do not fit a
   cache, those used last are still there. Of many k a part is multiplied after the other. */
void gw_multiply(const T *x, int64_t ldx, const T *packed, int64_t K, const T *x2, int64_t ldx2, const T *packed2,
                 int64_t K2, int64_t M, int64_t N, const T *init, int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    const int64_t wide = M <= WIDE ? 4 * L : 2 * L, whole = N / wide * wide;
    const int64_t parts = K2 ? 1 : (K + DEEP - 1) / DEEP, far = wide == 2 * L && !K2 && N * K > FAR;
    for (int64_t done = 0, n, step; done < N; done += step) {
        if (turned) {
            int64_t left = N - done;
            step = left > whole ? (left - 1) % L + 1 : wide;
            n = left - step;
        } else {
            n = done;
            step = n < whole ? wide : N - n < L ? N - n : L;
        }
        const T *from = init ? init + n : NULL;
        int64_t ldf = ldi;
        for (int64_t i = 0; i < parts; i++, from = out + n, ldf = ldo) {
            const int64_t k = K * i / parts, depth = K * (i + 1) / parts - k;
            Part part = {x + k, ldx, depth, packed + n * K + k * L, K * L, NULL};
            Part second = {x2, ldx2, K2, K2 ? packed2 + n * K2 : NULL, K2 * L, NULL};
            /* The next part of these columns, or the first one of the next columns in the order of this loop. */
            if (far && step == wide && i + 1 < parts)
                part.ahead = part.w + depth * L;
            else if (far && step == wide && (turned ? n > 0 : n + wide < whole))
                part.ahead = packed + (turned ? n - wide : n + wide) * K;
            if (step == 4 * L)
                each_block(panels_4, PACKED, WIDE, M, part, second, step, from, ldf, out + n, ldo);
            else if (step == 2 * L)
                each_block(panels_2, PACKED, TALL, M, part, second, step, from, ldf, out + n, ldo);
            else
                each_block(panels_1, PACKED, TALL, M, part, second, step, from, ldf, out + n, ldo);
        }
    }
}

enum { DOT_ROWS = 4, DOT_COLUMNS = 4 };
typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));

/* The sum of each of four vectors. */
INLINE Four four_sums(const V v[DOT_COLUMNS]) {
    Four sums = {0};
#if defined(LOW) && LANES >= 4
    /* Adding the halves of two vectors, interleaved, twice: column 2 joins column 0, as it ends up two lanes further.
       Then every group of four lanes holds a part of each sum. */
#define HALVES(a, b) (__builtin_shufflevector(a, b, LOW) + __builtin_shufflevector(a, b, HIGH))
    const V all = HALVES(HALVES(v[0], v[2]), HALVES(v[1], v[3]));
    Four groups[L / 4];
    memcpy(groups, &all, sizeof groups);
    for (int i = 0; i < L / 4; i++) sums += groups[i];
#else
    for (int c = 0; c < DOT_COLUMNS; c++)
        for (int i = 0; i < L; i++) sums[c] += v[c][i];
#endif
    return sums;
}

#define UNROLL_ALL _Pragma("GCC unroll 4")

/* Dot products of R rows of x with those of w, four of w at a time; R is a constant. One row alone has two sums for each,
   as one sum can only be added to when the addition before is done. */
INLINE void dot_tile(const int R, const T *x, int64_t ldx, const T *w, int64_t ldw, int64_t N, int64_t K, const T *init,
                     int64_t ldi, T *out, int64_t ldo) {
    for (int64_t n = 0; n < N; n += DOT_COLUMNS, w += DOT_COLUMNS * ldw) {
        V sums[DOT_ROWS][DOT_COLUMNS] = {0}, more[DOT_COLUMNS] = {0};
        int64_t k = 0;
        for (; R == 1 && k + 2 * L <= K; k += 2 * L)
            UNROLL_ALL for (int c = 0; c < DOT_COLUMNS; c++) {
                sums[0][c] += *(const V *)(x + k) * *(const V *)(w + c * ldw + k);
                more[c] += *(const V *)(x + k + L) * *(const V *)(w + c * ldw + k + L);
            }
        for (; k + L <= K; k += L)
            UNROLL_ALL for (int c = 0; c < DOT_COLUMNS; c++) {
                const V weight = *(const V *)(w + c * ldw + k);
                UNROLL_ALL for (int r = 0; r < R; r++) sums[r][c] += *(const V *)(x + r * ldx + k) * weight;
            }
        if (k < K)
            UNROLL_ALL for (int c = 0; c < DOT_COLUMNS; c++) {
                const V weight = gw_load(w + c * ldw + k, (int)(K - k));
                UNROLL_ALL for (int r = 0; r < R; r++) sums[r][c] += gw_load(x + r * ldx + k, (int)(K - k)) * weight;
            }
        if (R == 1)
            UNROLL_ALL for (int c = 0; c < DOT_COLUMNS; c++) sums[0][c] += more[c];
        UNROLL_ALL for (int r = 0; r < R; r++) {
            Four found = four_sums(sums[r]);
            if (init) found += *(const Four *)(init + r * ldi + n);
            *(Four *)(out + r * ldo + n) = found;
        }
    }
}

#define DOT_CASE(r) \
    case r: dot_tile(r, x, ldx, w, ldw, N, K, init, ldi, out, ldo); break;
static __attribute__((noinline)) void dots_of(int rows, const T *x, int64_t ldx, const T *w, int64_t ldw, int64_t N,
                                              int64_t K, const T *init, int64_t ldi, T *out, int64_t ldo) {
    switch (rows) { DOT_CASE(1) DOT_CASE(2) DOT_CASE(3) DOT_CASE(4) }
}

/* out[M, N] = init + x[M, K] · w[N, K]' with plain weights: for so few rows that packing costs more than it saves. */
void gw_dots(const T *x, int64_t ldx, int64_t M, const T *w, int64_t N, int64_t K, const T *init, int64_t ldi,
             T *out, int64_t ldo) {
    const int64_t whole = N / DOT_COLUMNS * DOT_COLUMNS;
    for (int64_t m = 0; m < M; m += DOT_ROWS) {
        const int rows = M - m < DOT_ROWS ? (int)(M - m) : DOT_ROWS;
        const T *from = init ? init + m * ldi : NULL;
        T *to = out + m * ldo;
        dots_of(rows, x + m * ldx, ldx, w, K, whole, K, from, ldi, to, ldo);
        /* Of the last columns, fewer than four, each is multiplied four times, and only the first sum is taken. */
        for (int64_t n = whole; n < N; n++) {
            T edge[DOT_ROWS * DOT_COLUMNS];
            dots_of(rows, x + m * ldx, ldx, w + n * K, 0, DOT_COLUMNS, K, NULL, 0, edge, DOT_COLUMNS);
            for (int r = 0; r < rows; r++) to[r * ldo + n] = (from ? from[r * ldi + n] : 0) + edge[r * DOT_COLUMNS];
        }
    }
}

/* out[M, N] = init + x[M, K] · w[K, N] with plain weights, whose rows are ldw apart; for few rows, as gw_dots. */
void gw_mix(const T *x, int64_t ldx, int64_t M, const T *w, int64_t ldw, int64_t N, int64_t K, const T *init,
            int64_t ldi, T *out, int64_t ldo) {
    const Part none = {0};
    for (int64_t n = 0, step; n < N; n += step) {
        step = N - n >= 4 * L ? 4 * L : N - n < L ? N - n : L;
        const Part part = {x, ldx, K, w + n, ldw};
        const T *from = init ? init + n : NULL;
        if (step < L) {
            /* Nothing may be read past the columns. */
            for (int64_t m = 0; m < M; m++)
                for (int64_t c = 0; c < step; c++) {
                    T sum = from ? from[m * ldi + c] : 0;
                    for (int64_t k = 0; k < K; k++) sum += x[m * ldx + k] * w[k * ldw + n + c];
                    out[m * ldo + n + c] = sum;
                }
        } else {
            each_block(step == 4 * L ? plain_4 : plain_1, PLAIN, step == 4 * L ? WIDE : TALL, M, part, none, step, from,
                       ldi, out + n, ldo);
        }
    }
}

/* So much of x and of the sums fits the second cache, and so much of w the first. */
enum { ROWS_AT_ONCE = 42 * WIDE, DEPTH_AT_ONCE = 128 };
/* For so few k, writing the sums takes longer than multiplying: they are written from the first to the last. */
enum { FEW_DEEP = 4 };

/* As gw_outer, for few k. */
static void outer_of_few(const T *x, int64_t ldx, int64_t M, const T *w, int64_t ldw, int64_t N, int64_t K, T *out,
                         int64_t ldo, int64_t anew) {
    for (int64_t m = 0; m < M; m++) {
        T *to = out + m * ldo;
        for (int64_t n = 0; n < N; n += L) {
            const int columns = N - n < L ? (int)(N - n) : L;
            V sum = anew ? (V){0} : gw_load(to + n, columns);
            for (int64_t k = 0; k < K; k++) sum += *(const V *)(w + k * ldw + n) * x[k * ldx + m];
            gw_store(to + n, sum, columns);
        }
    }
}

/* out[M, N] += x[K, M]' · w[K, N], or with `anew` = it; the rows of w are padded to whole vectors. */
void gw_outer(const T *x, int64_t ldx, int64_t M, const T *w, int64_t ldw, int64_t N, int64_t K, T *out,
              int64_t ldo, int64_t anew) {
    T slab[DEPTH_AT_ONCE * ROWS_AT_ONCE]; /* a part of x, copied to few pages of memory */
    const Part none = {0};
    if (K <= FEW_DEEP) {
        outer_of_few(x, ldx, M, w, ldw, N, K, out, ldo, anew);
        return;
    }
    for (int64_t m = 0; m < M; m += ROWS_AT_ONCE)
        for (int64_t k = 0; k < K; k += DEPTH_AT_ONCE) {
            int64_t rows = M - m < ROWS_AT_ONCE ? M - m : ROWS_AT_ONCE, wide;
            int64_t depth = K - k < DEPTH_AT_ONCE ? K - k : DEPTH_AT_ONCE;
            for (int64_t i = 0; i < depth; i++)
                memcpy(slab + i * ROWS_AT_ONCE, x + (k + i) * ldx + m, sizeof(T) * (size_t)rows);
            for (int64_t n = 0; n < N; n += wide ? 4 * L : L) {
                wide = N - n >= 4 * L;
                T *to = out + m * ldo + n;
                const T *from = anew && k == 0 ? NULL : to;
                Part part = {slab, ROWS_AT_ONCE, depth, w + k * ldw + n, ldw};
                each_block(wide ? outer_4 : outer_1, OUTER, wide ? WIDE : TALL, rows, part, none, wide ? 4 * L : N - n, from,
                           ldo, to, ldo);
            }
        }
}
