/* Matrix products whose factors are rounded to bfloat16, and whose sums are float32.

   Two neighbours along k share one 32-bit lane, the first in its low half: a pair. A panel holds L columns of the
   weights, [pair][L], in the place that product.c has for them in float32. They are multiplied by AMX tiles where the
   processor and the system have them, else by AVX512-BF16. A processor without either multiplies in float32: it would
   only be slower for rounding first. */
#if !defined(__AVX512BF16__) || LANES != 16
void gw_pack_bfloat16(const T *w, int64_t wn, int64_t wk, int64_t N, int64_t K, T *packed) {
    gw_pack(w, wn, wk, N, K, packed);
}
void gw_multiply_bfloat16(const T *x, int64_t ldx, const T *packed, int64_t K, const T *x2, int64_t ldx2,
                          const T *packed2, int64_t K2, int64_t M, int64_t N, const T *init, int64_t ldi, T *out,
                          int64_t ldo, int64_t turned) {
    gw_multiply(x, ldx, packed, K, x2, ldx2, packed2, K2, M, N, init, ldi, out, ldo, turned);
}
void gw_outer_bfloat16(const T *x, int64_t ldx, int64_t M, const T *w, int64_t ldw, int64_t N, int64_t K, T *out,
                       int64_t ldo, int64_t anew) {
    gw_outer(x, ldx, M, w, ldw, N, K, out, ldo, anew);
}
#else
#include <immintrin.h>
#if defined(__AMX_BF16__) && defined(__linux__)
#define TILED 1
#include <sys/syscall.h>
#include <unistd.h>
#else
#define TILED 0
#endif

typedef uint32_t U __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

/* How many pairs K numbers are filled up to with 0: whole tiles of 16, unless that would not fit K lanes. */
static int64_t pairs_of(int64_t K) { return K >= 16 ? (K + 31) / 32 * 16 : (K + 1) / 2; }

/* The bits of x rounded to the nearest bfloat16 (to even from halfway), in the high half; NaN stays NaN. */
INLINE U rounded(V x) {
    U bits = (U)x, near = bits + 0x7fff + ((bits >> 16) & 1);
    I nan = x != x;
    return ((U)nan & (bits | 0x400000)) | (~(U)nan & near);
}
INLINE I paired(V low, V high) {
#if defined(__AVX512BW__)
    /* Both, one after the other, and then in turns. */
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                           5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (I)_mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
#else
    return (I)((rounded(low) >> 16) | (rounded(high) & 0xffff0000u));
#endif
}

static uint16_t half(T x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((x != x ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* x[K] as `pairs` pairs. */
static void round_row(const T *x, int64_t K, int64_t pairs, Int *to) {
    uint16_t *out = (uint16_t *)to;
    int64_t k = 0;
    for (; k + 32 <= K; k += 32) {
        __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + k + 16), _mm512_loadu_ps(x + k));
        memcpy(out + k, &both, 64);
    }
    for (; k < K; k++) out[k] = half(x[k]);
    memset(out + K, 0, sizeof(uint16_t) * (size_t)(2 * pairs - K));
}

/* L rows of L lanes, ld apart, transposed; the result's rows are ldt apart. */
static void turn(const Int *from, int64_t ld, Int *to, int64_t ldt) {
#ifdef LOW
    T turned[L * L];
    transpose((const T *)from, ld, turned);
    for (int i = 0; i < L; i++) memcpy(to + i * ldt, turned + i * L, sizeof(Int) * L);
#else
    for (int i = 0; i < L; i++)
        for (int j = 0; j < L; j++) to[j * ldt + i] = from[i * ld + j];
#endif
}

/* The rows of w[K, N], ld apart, two by two as panels of `pairs` pairs; each panel takes `stride` lanes. */
static void pair_rows(const T *w, int64_t ld, int64_t N, int64_t K, int64_t pairs, Int *panels, int64_t stride) {
    for (int64_t n = 0; n < N; n += L, panels += stride) {
        const int columns = (int)(N - n < L ? N - n : L);
        for (int64_t k = 0; k < K; k += 2) {
            V low = gw_load(w + k * ld + n, columns), high = {0};
            if (k + 1 < K) high = gw_load(w + (k + 1) * ld + n, columns);
            *(I *)(panels + k / 2 * L) = paired(low, high);
        }
        for (int64_t p = (K + 1) / 2; p < pairs; p++) *(I *)(panels + p * L) = (I){0};
    }
}

enum { PART = 512, ROWS_OF_PART = 128 }; /* pairs along k, and rows, that are rounded at once */

/* As gw_pack. */
void gw_pack_bfloat16(const T *w, int64_t wn, int64_t wk, int64_t N, int64_t K, T *packed) {
    Int *panels = (Int *)packed;
    if (wn == 1) {
        pair_rows(w, wk, N, K, pairs_of(K), panels, K * L);
        return;
    }
    Int rows[L * PART];
    for (int64_t n = 0; n < N; n += L, panels += K * L)
        for (int64_t k = 0; k < K; k += 2 * PART) {
            const int64_t count = K - k < 2 * PART ? K - k : 2 * PART, pairs = pairs_of(K) - k / 2;
            const int64_t here = pairs < PART ? pairs : PART;
            for (int i = 0; i < L; i++) {
                if (n + i < N)
                    round_row(w + (n + i) * wn + k, count, here, rows + i * PART);
                else
                    memset(rows + i * PART, 0, sizeof(Int) * (size_t)here);
            }
            int64_t p = 0;
            Int *to = panels + k / 2 * L;
            for (; p + L <= here; p += L) turn(rows + p, PART, to + p * L, L);
            for (; p < here; p++)
                for (int i = 0; i < L; i++) to[p * L + i] = rows[i * PART + p];
        }
}

/* x[rows, pairs] times panels that are `stride` apart. The rows of x are ld apart; tiles of 16 rows by 16 pairs follow
   each other at `next` along a row, and at `below` from row to row. */
typedef struct {
    const Int *x;
    int64_t ld, next, below, pairs;
    const Int *w;
    int64_t stride;
} Pairs;

enum { TALLEST = 6 };
#define UNROLLED _Pragma("GCC unroll 6")

/* out[r, c] = init[r, c] + x w, for R rows and C panels; R and C are constants. */
INLINE void pair_tile(const int R, const int C, const Pairs *p, const T *init, int64_t ldi, T *out, int64_t ldo) {
    __m512 sums[TALLEST][4];
    UNROLLED for (int r = 0; r < R; r++)
        UNROLLED for (int c = 0; c < C; c++)
            sums[r][c] = init ? _mm512_loadu_ps(init + r * ldi + c * L) : _mm512_setzero_ps();
    for (int64_t k = 0; k < p->pairs; k++) {
        const Int *column = p->x + k / 16 * p->next + k % 16;
        __m512bh w[4];
        UNROLLED for (int c = 0; c < C; c++) w[c] = (__m512bh)_mm512_loadu_si512(p->w + c * p->stride + k * L);
        UNROLLED for (int r = 0; r < R; r++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(column[r * p->ld]);
            UNROLLED for (int c = 0; c < C; c++) sums[r][c] = _mm512_dpbf16_ps(sums[r][c], x, w[c]);
        }
    }
    UNROLLED for (int r = 0; r < R; r++)
        UNROLLED for (int c = 0; c < C; c++) _mm512_storeu_ps(out + r * ldo + c * L, sums[r][c]);
}
#define PAIR_ROWS(r, C) \
    case r: pair_tile(r, C, p, init, ldi, out, ldo); break;
#define PAIR_TILES(name, C)                                                                                         \
    static __attribute__((noinline)) void name(int rows, const Pairs *p, const T *init, int64_t ldi, T *out,       \
                                               int64_t ldo) {                                                       \
        switch (rows) {                                                                                             \
            PAIR_ROWS(1, C) PAIR_ROWS(2, C) PAIR_ROWS(3, C) PAIR_ROWS(4, C) PAIR_ROWS(5, C) PAIR_ROWS(6, C)         \
        }                                                                                                           \
    }
PAIR_TILES(one_panel, 1)
PAIR_TILES(four_panels, 4)

#if TILED
/* Tiles of 16 rows: sums in 0 to 3, x in 4 and 5, weights in 6 and 7. */
typedef struct {
    uint8_t palette, start, unused[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TileSizes;

/* Compilers do not know what memory the instructions for tiles read and write: what was stored before has to be there,
   and what is loaded after has to be new. */
#define MEMORY_IS_USED(address) __asm__ volatile("" : : "r"(address) : "memory")

/* Of up to 16 rows, four panels are done at once; of up to 32, in two tiles, two panels. */
static void set_tiles(int rows) {
    TileSizes tiles = {.palette = 1};
    const int low = rows < 16 ? rows : 16, high = rows > 16 ? rows - 16 : low;
    for (int i = 0; i < 8; i++) tiles.bytes[i] = 64;
    for (int i = 0; i < 4; i++) tiles.rows[i] = (uint8_t)(i < 2 ? low : high);
    tiles.rows[4] = (uint8_t)low, tiles.rows[5] = (uint8_t)high, tiles.rows[6] = tiles.rows[7] = 16;
    MEMORY_IS_USED(&tiles);
    _tile_loadconfig(&tiles);
}

#define START_TILE(t, place)                                          \
    if (init)                                                         \
        _tile_loadd(t, init + (place), ldi * (int64_t)sizeof(T));     \
    else                                                              \
        _tile_zero(t);

static void two_by_two(const Pairs *p, int panels, const T *init, int64_t ldi, T *out, int64_t ldo) {
    START_TILE(0, 0)
    START_TILE(2, 16 * ldi)
    if (panels > 1) {
        START_TILE(1, 16)
        START_TILE(3, 16 * ldi + 16)
    }
    const Int *x = p->x;
    for (int64_t k = 0; k < p->pairs; k += 16, x += p->next) {
        _tile_loadd(4, x, p->ld * 4);
        _tile_loadd(6, p->w + k * 16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, x + p->below, p->ld * 4);
        _tile_dpbf16ps(2, 5, 6);
        if (panels > 1) {
            _tile_loadd(7, p->w + p->stride + k * 16, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, ldo * 4);
    _tile_stored(2, out + 16 * ldo, ldo * 4);
    if (panels > 1) {
        _tile_stored(1, out + 16, ldo * 4);
        _tile_stored(3, out + 16 * ldo + 16, ldo * 4);
    }
}

static void one_by_four(const Pairs *p, int panels, const T *init, int64_t ldi, T *out, int64_t ldo) {
    START_TILE(0, 0)
    if (panels > 1) { START_TILE(1, 16) }
    if (panels > 2) { START_TILE(2, 32) }
    if (panels > 3) { START_TILE(3, 48) }
    const Int *x = p->x;
    for (int64_t k = 0; k < p->pairs; k += 16, x += p->next) {
        const Int *w = p->w + k * 16;
        _tile_loadd(4, x, p->ld * 4);
        _tile_loadd(6, w, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (panels > 1) {
            _tile_loadd(7, w + p->stride, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (panels > 2) {
            _tile_loadd(6, w + 2 * p->stride, 64);
            _tile_dpbf16ps(2, 4, 6);
        }
        if (panels > 3) {
            _tile_loadd(7, w + 3 * p->stride, 64);
            _tile_dpbf16ps(3, 4, 7);
        }
    }
    _tile_stored(0, out, ldo * 4);
    if (panels > 1) _tile_stored(1, out + 16, ldo * 4);
    if (panels > 2) _tile_stored(2, out + 32, ldo * 4);
    if (panels > 3) _tile_stored(3, out + 48, ldo * 4);
}

/* Whether this process may use tiles, for which the system is asked once: it has to keep room for them. */
static int may_use_tiles(void) {
    enum { ASK_FOR_FEATURE = 0x1023, TILE_DATA = 18 };
    static int answer = -1;
    int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (known < 0) {
        known = syscall(SYS_arch_prctl, ASK_FOR_FEATURE, TILE_DATA) == 0;
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known;
}
#endif

typedef void (*Kernel)(int, const Pairs *, int, const T *, int64_t, T *, int64_t);

static void by_vectors(int rows, const Pairs *p, int panels, const T *init, int64_t ldi, T *out, int64_t ldo) {
    if (panels == 4) {
        four_panels(rows, p, init, ldi, out, ldo);
        return;
    }
    Pairs one = *p;
    for (int c = 0; c < panels; c++, one.w += p->stride)
        one_panel(rows, &one, init ? init + c * L : NULL, ldi, out + c * L, ldo);
}

#if TILED
static void by_tiles(int rows, const Pairs *p, int panels, const T *init, int64_t ldi, T *out, int64_t ldo) {
    MEMORY_IS_USED(out);
    (rows > 16 ? two_by_two : one_by_four)(p, panels, init, ldi, out, ldo);
    MEMORY_IS_USED(out);
}
#endif

/* Rows [0, rows) in blocks of `most`, by N columns in groups of panels. */
static void in_groups(Kernel kernel, int most, int panels, const Pairs *p, int64_t rows, int64_t N, const T *init,
                      int64_t ldi, T *out, int64_t ldo, int64_t turned) {
    const int64_t wide = (int64_t)panels * L, groups = (N + wide - 1) / wide;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t n = (turned ? groups - 1 - g : g) * wide, columns = N - n < wide ? N - n : wide;
        const int here = (int)((columns + L - 1) / L);
        Pairs part = *p;
        part.w += n / L * p->stride;
        int count;
        for (int64_t low = 0; low < rows; low += count) {
            /* Not past the end of a tile, or over whole tiles. */
            const int limit = most < 16 && most > 16 - low % 16 ? (int)(16 - low % 16) : most;
            count = (int)(rows - low < limit ? rows - low : limit);
            const T *from = init ? init + low * ldi + n : NULL;
            T *to = out + low * ldo + n;
            part.x = p->x + low / 16 * p->below + low % 16 * p->ld;
            if (columns == (int64_t)here * L) {
                kernel(count, &part, here, from, ldi, to, ldo);
                continue;
            }
            /* Part of a panel: nothing may be read or written past its columns. */
            T edge[32 * 4 * L];
            for (int r = 0; from && r < count; r++)
                memcpy(edge + r * wide, from + r * ldi, sizeof(T) * (size_t)columns);
            kernel(count, &part, here, from ? edge : NULL, wide, edge, wide);
            for (int r = 0; r < count; r++) memcpy(to + r * ldo, edge + r * wide, sizeof(T) * (size_t)columns);
        }
    }
}

static void multiply_pairs(const Pairs *p, int64_t rows, int64_t N, const T *init, int64_t ldi, T *out, int64_t ldo,
                           int64_t turned) {
#if TILED
    if (p->pairs % 16 == 0 && may_use_tiles()) {
        const int64_t whole = rows / 32 * 32;
        if (whole) {
            set_tiles(32);
            in_groups(by_tiles, 32, 2, p, whole, N, init, ldi, out, ldo, turned);
        }
        if (rows > whole) {
            Pairs rest = *p;
            rest.x += whole / 16 * p->below;
            set_tiles((int)(rows - whole));
            in_groups(by_tiles, 32, rows - whole > 16 ? 2 : 4, &rest, rows - whole, N, init ? init + whole * ldi : NULL,
                      ldi, out + whole * ldo, ldo, turned);
        }
        _tile_release();
        return;
    }
#endif
    in_groups(by_vectors, TALLEST, 4, p, rows, N, init, ldi, out, ldo, turned);
}

/* As gw_multiply. */
void gw_multiply_bfloat16(const T *x, int64_t ldx, const T *packed, int64_t K, const T *x2, int64_t ldx2,
                          const T *packed2, int64_t K2, int64_t M, int64_t N, const T *init, int64_t ldi, T *out,
                          int64_t ldo, int64_t turned) {
    static __thread Int near[ROWS_OF_PART * PART];
    for (int64_t m = 0; m < M; m += ROWS_OF_PART) {
        const int64_t rows = M - m < ROWS_OF_PART ? M - m : ROWS_OF_PART;
        const T *sum = init ? init + m * ldi : NULL;
        int64_t ld_of_sum = ldi;
        for (int turn = 0; turn < 2; turn++) {
            const T *from = turn ? x2 : x, *weights = turn ? packed2 : packed;
            const int64_t ld = turn ? ldx2 : ldx, all = turn ? K2 : K;
            for (int64_t k = 0; k < all || (all == 0 && !turn && k == 0); k += 2 * PART) {
                const int64_t count = all - k < 2 * PART ? all - k : 2 * PART, rest = pairs_of(all) - k / 2;
                const int64_t pairs = rest < PART ? rest : PART;
                for (int64_t r = 0; r < rows; r++) round_row(from + (m + r) * ld + k, count, pairs, near + r * pairs);
                Pairs p = {near, pairs, 16, 16 * pairs, pairs, (const Int *)weights + k / 2 * L, all * L};
                multiply_pairs(&p, rows, N, sum, ld_of_sum, out + m * ldo, ldo, turned);
                sum = out + m * ldo, ld_of_sum = ldo;
            }
        }
    }
}

enum { OUTER_ROWS = 1024, OUTER_COLUMNS = 512, OUTER_DEPTH = 512 };

/* As gw_outer. */
void gw_outer_bfloat16(const T *x, int64_t ldx, int64_t M, const T *w, int64_t ldw, int64_t N, int64_t K, T *out,
                       int64_t ldo, int64_t anew) {
    static __thread Int turned[OUTER_ROWS * OUTER_DEPTH / 2], panels[OUTER_COLUMNS * OUTER_DEPTH / 2];
    for (int64_t k = 0; k < K; k += OUTER_DEPTH) {
        const int64_t depth = K - k < OUTER_DEPTH ? K - k : OUTER_DEPTH, pairs = (depth + 31) / 32 * 16;
        for (int64_t m = 0; m < M; m += OUTER_ROWS) {
            const int64_t rows = M - m < OUTER_ROWS ? M - m : OUTER_ROWS;
            /* Along the rows of x, which lie on pages of their own. */
            for (int64_t j = 0; j < pairs; j += L)
                for (int64_t r = 0; r < rows; r += L) {
                    const int count = (int)(rows - r < L ? rows - r : L);
                    Int block[L * L];
                    for (int64_t i = 0; i < L; i++) {
                        const int64_t at = 2 * (j + i);
                        V low = {0}, high = {0};
                        if (at < depth) low = gw_load(x + (k + at) * ldx + m + r, count);
                        if (at + 1 < depth) high = gw_load(x + (k + at + 1) * ldx + m + r, count);
                        *(I *)(block + i * L) = paired(low, high);
                    }
                    turn(block, L, turned + r * pairs + j * L, L);
                }
            for (int64_t n = 0; n < N; n += OUTER_COLUMNS) {
                const int64_t columns = N - n < OUTER_COLUMNS ? N - n : OUTER_COLUMNS;
                pair_rows(w + k * ldw + n, ldw, columns, depth, pairs, panels, pairs * L);
                Pairs p = {turned, L, L * L, L * pairs, pairs, panels, pairs * L};
                T *to = out + m * ldo + n;
                multiply_pairs(&p, rows, columns, anew && k == 0 ? NULL : to, ldo, to, ldo, 0);
            }
        }
    }
}
#endif
