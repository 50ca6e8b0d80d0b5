/* Vectors of L numbers, and the operations of a step on them. NaN is treated as in torch. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef @TYPE@ T;
#define DOUBLE @DOUBLE@
#define NEAR @NEAR@ /* whether sigmoid and tanh need no more digits than stand beside products of bfloat16 */
#if DOUBLE
#define REAL(name) name
typedef int64_t Int;
#else
#define REAL(name) name##f
typedef int32_t Int;
#endif

#if NEAR && defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES (BYTES / (4 + 4 * DOUBLE))
enum { L = LANES };
typedef T V __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
typedef Int I __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))

/* The first n of L numbers at p, followed by 0. */
INLINE V gw_load(const T *p, int n) {
    if (n == L) return *(const V *)p;
    V v = {0};
    memcpy(&v, p, sizeof(T) * (size_t)n);
    return v;
}

INLINE void gw_store(T *p, V v, int n) {
    if (n == L)
        *(V *)p = v;
    else
        memcpy(p, &v, sizeof(T) * (size_t)n);
}

#if LANES == 16
#define ALL(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x
#elif LANES == 8
#define ALL(x) x, x, x, x, x, x, x, x
#elif LANES == 4
#define ALL(x) x, x, x, x
#else
#define ALL(x) x, x
#endif
INLINE V gw_splat(T x) { return (V){ALL(x)}; }

/* a where a lane of the mask is set (-1), else b. */
INLINE V gw_choose(I mask, V a, V b) { return (V)((mask & (I)a) | (~mask & (I)b)); }
INLINE V gw_truth(I mask) { return (V)(mask & (I)gw_splat(1)); }
INLINE V gw_where(V condition, V a, V b) { return gw_choose(condition != 0, a, b); }

INLINE V gw_abs(V x) { return (V)((I)x & ~(I)gw_splat(-(T)0)); }
/* y with the sign of x. */
INLINE V gw_signed(V y, V x) {
    I sign = (I)gw_splat(-(T)0);
    return (V)(((I)x & sign) | ((I)y & ~sign));
}

/* The lesser and the greater of a limit and x; NaN where x is NaN. Written as instructions because compilers do not
   find them: they return their second operand where either is NaN. */
#if defined(__AVX__)
#define EXTREME(name, instruction, sign)                                           \
    INLINE V name(V limit, V x) {                                                  \
        V y;                                                                       \
        __asm__(instruction " %2, %1, %0" : "=v"(y) : "v"(limit), "v"(x));         \
        return y;                                                                  \
    }
#else
#define EXTREME(name, instruction, sign) \
    INLINE V name(V limit, V x) { return gw_choose(x sign limit, limit, x); }
#endif
#if DOUBLE
EXTREME(gw_at_most, "vminpd", >)
EXTREME(gw_at_least, "vmaxpd", <)
#else
EXTREME(gw_at_most, "vminps", >)
EXTREME(gw_at_least, "vmaxps", <)
#endif

INLINE V gw_relu(V x) { return gw_at_least(gw_splat(0), x); }
INLINE V gw_maximum(V x, V y) { return gw_choose((x > y) | (x != x), x, y); }
INLINE V gw_minimum(V x, V y) { return gw_choose((x < y) | (x != x), x, y); }
INLINE V gw_sign(V x) { return gw_truth(x > 0) - gw_truth(x < 0); }

/* Lane i of the result is v[(i + span) % L]. */
#if !defined(__clang__) && __GNUC__ < 12
#define TURNED(v, span, ...) gw_turned(v, span)
INLINE V gw_turned(V v, int span) {
    V w;
    for (int i = 0; i < L; i++) w[i] = v[(i + span) % L];
    return w;
}
#else
#define TURNED(v, span, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#endif
/* The sum, or the maximum, of all lanes, in every lane: each takes in the one half of them away, then a quarter. */
#if LANES == 16
#define OVER_LANES(v, JOINED)                                                                    \
    v = JOINED(v, TURNED(v, 8, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));           \
    v = JOINED(v, TURNED(v, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3));           \
    v = JOINED(v, TURNED(v, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1));           \
    v = JOINED(v, TURNED(v, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0));
#elif LANES == 8
#define OVER_LANES(v, JOINED)                                \
    v = JOINED(v, TURNED(v, 4, 4, 5, 6, 7, 0, 1, 2, 3));     \
    v = JOINED(v, TURNED(v, 2, 2, 3, 4, 5, 6, 7, 0, 1));     \
    v = JOINED(v, TURNED(v, 1, 1, 2, 3, 4, 5, 6, 7, 0));
#elif LANES == 4
#define OVER_LANES(v, JOINED)                    \
    v = JOINED(v, TURNED(v, 2, 2, 3, 0, 1));     \
    v = JOINED(v, TURNED(v, 1, 1, 2, 3, 0));
#else
#define OVER_LANES(v, JOINED) v = JOINED(v, TURNED(v, 1, 1, 0));
#endif
#define ADDED(v, w) v + w
INLINE V gw_sum(V v) {
    OVER_LANES(v, ADDED)
    return v;
}
INLINE V gw_amax(V v) {
    OVER_LANES(v, gw_maximum)
    return v;
}
/* The first n lanes of x, followed by `other`. */
INLINE V gw_first(V x, int n, T other) {
    for (int i = n; i < L; i++) x[i] = other;
    return x;
}

#if defined(__AVX__)
INLINE V gw_sqrt(V x) {
    V y;
#if DOUBLE
    __asm__("vsqrtpd %1, %0" : "=v"(y) : "v"(x));
#else
    __asm__("vsqrtps %1, %0" : "=v"(y) : "v"(x));
#endif
    return y;
}
#endif

/* Functions of the C library, lane by lane. */
#define EACH(function) \
    INLINE V gw_##function(V x) { \
        for (int i = 0; i < L; i++) x[i] = REAL(function)(x[i]); \
        return x; \
    }
#define EACH_PAIR(function) \
    INLINE V gw_##function(V x, V y) { \
        for (int i = 0; i < L; i++) x[i] = REAL(function)(x[i], y[i]); \
        return x; \
    }
EACH(exp2) EACH(erf) EACH(erfc)
EACH(sin) EACH(cos) EACH(tan) EACH(asin) EACH(acos) EACH(atan)
EACH(sinh) EACH(cosh) EACH(asinh) EACH(acosh) EACH(atanh)
EACH(floor) EACH(ceil) EACH(trunc) EACH(nearbyint)
EACH_PAIR(pow) EACH_PAIR(atan2) EACH_PAIR(fmod) EACH_PAIR(hypot) EACH_PAIR(copysign)
/* These two return the other argument where one is NaN. */
EACH_PAIR(fmax) EACH_PAIR(fmin)
#if !defined(__AVX__)
EACH(sqrt)
#endif

/* exp(x) = 2^n exp(r), |r| <= ln(2) / 2, with n = round(x / ln 2): adding 1.5 · 2^(mantissa bits) leaves n in the low
   bits of the sum. exp(r) - 1 = r + r² q(r). For a float, the coefficients of q minimise the largest error of exp on that
   interval (fitted: 3.2e-9); for a double, they are those of the Taylor series, whose first omitted term is
   0.35^14 / 14! = 4e-18. */
#if DOUBLE
#define SHIFTER 6755399441055744.0
#define MANTISSA 52
#define LARGEST 709.78
#define SMALLEST -708.39
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define HALFWAY 0x7fde623822fc16e6
#define FARTHEST 708
#define LEAST_NORMAL 2.2250738585072014e-308
enum { LOG_TERMS = 11 };
static const T SERIES[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                           1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5};
#else
#define SHIFTER 12582912.0f
#define MANTISSA 23
#define LARGEST 88.72f
#define SMALLEST -87.33f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define HALFWAY 0x7ef311c3
#define FARTHEST 87
#define LEAST_NORMAL 1.17549435e-38f
enum { LOG_TERMS = 5 };
static const T SERIES[] = {1.39506022e-3f, 8.36895352e-3f, 4.16662041e-2f, 1.66665183e-1f, 0.50000001f};
#endif

/* exp(factor · x) - 1 = 2^n (1 + q) - 1: returns q and, in *n, n shifted to the place of the exponent. */
INLINE V gw_reduced(V x, T factor, I *n) {
    V shifted = x * (factor * (T)1.44269504088896340736) + SHIFTER;
    V whole = shifted - SHIFTER;
    V r = (x * factor - whole * LN2_HIGH) - whole * LN2_LOW;
    V series = gw_splat(SERIES[0]);
    for (size_t i = 1; i < sizeof SERIES / sizeof *SERIES; i++) series = series * r + SERIES[i];
    *n = (I)shifted << MANTISSA;
    return series * (r * r) + r;
}

/* y 2^n, where both and the result are normal numbers. */
INLINE V gw_scaled(V y, I n) { return (V)((I)y + n); }

INLINE V gw_exp(V x) {
    I n;
    V q = gw_reduced(gw_at_most(gw_splat(LARGEST), gw_at_least(gw_splat(SMALLEST), x)), 1, &n);
    /* Half of it, then doubled: n may be one above the largest exponent. */
    V y = gw_scaled(0.5 * q + (T)0.5, n) * 2;
    y = gw_choose(x > LARGEST, gw_splat(INFINITY), y);
    return gw_choose(x < SMALLEST, gw_splat(0), y);
}

/* exp(x) - 1, accurate for small x; from 2^n / 2, as 2^n may overflow. */
INLINE V gw_expm1(V x) {
    I n;
    V clamped = gw_at_most(gw_splat(LARGEST), gw_at_least(gw_splat(-40), x));
    V q = gw_reduced(clamped, 1, &n), scale = gw_scaled(gw_splat(0.5), n);
    V y = 2 * (q * scale + (scale - (T)0.5));
    return gw_choose(x > LARGEST, gw_splat(INFINITY), y);
}

/* log(x) = e ln 2 + log(m) for x = 2^e m and m within a factor √2 of 1, where with s = (m - 1) / (m + 1), |s| <= 0.172,
   log(m) = 2 (s + s³ / 3 + s⁵ / 5 + …); the first omitted term is below 0.172^11 · 2 / 11 = 7e-10 of log(m) (a double:
   0.172^23 · 2 / 23 = 2e-19). */
INLINE V gw_log(V x) {
    const V ahead = gw_splat((T)((Int)1 << MANTISSA)), root = gw_splat(0.70710678118654752);
    I tiny = x < LEAST_NORMAL;
    V normal = gw_choose(tiny, x * ahead, x);
    /* e is the exponent of the difference to the bits of √½; without it the bits are those of m. */
    I e = ((I)normal - (I)root) >> MANTISSA;
    V m = (V)((I)normal - (e << MANTISSA)), s = (m - 1) / (m + 1), s2 = s * s, series = gw_splat(0);
    for (int k = 2 * LOG_TERMS - 1; k > 1; k -= 2) series = (series + (T)1 / k) * s2;
    V exponent = __builtin_convertvector(e, V) - gw_choose(tiny, gw_splat(MANTISSA), gw_splat(0));
    V y = 2 * s + (2 * s * series + exponent * (T)LN2_LOW) + exponent * (T)LN2_HIGH;
    y = gw_choose(x == 0, gw_splat(-INFINITY), y);
    y = gw_choose(x < 0, gw_splat(NAN), y);
    return gw_choose((x == INFINITY) | (x != x), x, y);
}

/* log(1 + x). u = 1 + x loses digits of x, but log(u) / (u - 1) hardly depends on them. */
INLINE V gw_log1p(V x) {
    V u = 1 + x, y = gw_log(u) * (x / (u - 1));
    return gw_choose((u == 1) | (x == INFINITY), x, y);
}
INLINE V gw_log2(V x) { return gw_log(x) * (T)1.44269504088896340736; }
INLINE V gw_log10(V x) { return gw_log(x) * (T)0.43429448190325182765; }

/* 1 / x for 1 <= x < 2^125.6 (a double: 2^1021.5), faster than a division. Subtracting the bits of x from a constant
   negates the exponent and approximates the mantissa, within 5.1 % of 1 / x. Each refinement reduces the error e: to
   e³ = 1.3e-4, then to e² = 2e-8 (a double: e³ twice, then e²). */
INLINE V gw_inverse(V x) {
    V y = (V)(HALFWAY - (I)x), e = 1 - x * y;
    y = y + y * (e + e * e);
    e = 1 - x * y;
#if DOUBLE
    y = y + y * (e + e * e);
    e = 1 - x * y;
#endif
    return y + y * e;
}

#if NEAR
/* 1 / x within 6.1e-5 (without AVX-512 1.3e-4) of it, for 1 <= x < 2^125.6. */
INLINE V gw_near_inverse(V x) {
#if defined(__AVX512F__)
    return (V)_mm512_rcp14_ps((__m512)x);
#else
    V y = (V)(HALFWAY - (I)x), e = 1 - x * y;
    return y + y * (e + e * e);
#endif
}
/* As gw_reduced, with an error of 5.3e-6 of exp and 2.6e-5 of exp - 1 (coefficients fitted likewise). */
INLINE V gw_near_reduced(V x, T factor, I *n) {
    V shifted = x * (factor * (T)1.44269504088896340736) + SHIFTER;
    V r = x * factor - (shifted - SHIFTER) * (T)0.69314718055994530942;
    *n = (I)shifted << MANTISSA;
    return ((T)4.12776e-2 * r + (T)1.67534973e-1) * r * (r * r) + ((T)5.0005115e-1 * (r * r) + r);
}
#define REDUCED gw_near_reduced
#define INVERSE gw_near_inverse
#else
#define REDUCED gw_reduced
#define INVERSE gw_inverse
#endif

/* 1 / (1 + exp(-x)); 0 or 1 beyond the clamp. */
INLINE V gw_sigmoid(V x) {
    I n;
    V q = REDUCED(gw_at_most(gw_splat(FARTHEST), gw_at_least(gw_splat(-FARTHEST), x)), -1, &n);
    V y = INVERSE(1 + gw_scaled(1 + q, n));
    return gw_choose(x < -FARTHEST, gw_splat(0), y);
}

/* tanh(x) = -m / (2 + m) with m = exp(-2 |x|) - 1, accurate for small x. */
INLINE V gw_tanh(V x) {
    I n;
    V q = REDUCED(gw_at_most(gw_splat(20), gw_abs(x)), -2, &n), scale = gw_scaled(gw_splat(1), n);
    V m = q * scale + (scale - 1);
    return gw_signed(-m * INVERSE(2 + m), x);
}
