// One number of a step, and the operations on it. NaN is treated as in torch.
// KIND: 0 float32, 1 bfloat16, 2 float16, 3 float64. T is how tensors hold numbers, S how they are computed.
#define KIND @KIND@
#define FAST @FAST@  // by instructions with some 11 bits (16-bit kinds) or 21 bits; 0: as exact as the C library
#if KIND == 3
typedef double T;
typedef double S;
#define REAL(name) name
#elif KIND == 0
typedef float T;
typedef float S;
#define REAL(name) name##f
#else
typedef unsigned short T;
typedef float S;
#define REAL(name) name##f
#endif

DEV S from_t(T x) {
#if KIND == 1
    return __uint_as_float((u32)x << 16);
#elif KIND == 2
    return from_half(x);
#else
    return x;
#endif
}
DEV T to_t(S x) {
#if KIND == 1
    return to_bfloat16(x);
#elif KIND == 2
    return to_half(x);
#else
    return x;
#endif
}

#define gw_splat(x) ((S)(x))
DEV S gw_truth(bool x) { return x ? (S)1 : (S)0; }
DEV S gw_where(S condition, S x, S y) { return condition != 0 ? x : y; }
DEV S gw_sqrt(S x) { return REAL(sqrt)(x); }
#if FAST
DEV S gw_rsqrt(S x) { return fast_rsqrt(x); }
DEV S gw_div(S x, S y) { return fast_quotient(x, y); }
DEV S gw_reciprocal(S x) { return fast_quotient(1, x); }
DEV S gw_over(S x, S number) { return x * (1 / number); }
#else
DEV S gw_rsqrt(S x) { return 1 / gw_sqrt(x); }
DEV S gw_div(S x, S y) { return x / y; }
DEV S gw_reciprocal(S x) { return 1 / x; }
DEV S gw_over(S x, S number) { return x / number; }
#endif
DEV S gw_abs(S x) { return REAL(fabs)(x); }
DEV S gw_relu(S x) { return x < 0 ? (S)0 : x; }
DEV S gw_sign(S x) { return gw_truth(x > 0) - gw_truth(x < 0); }
DEV S gw_maximum(S x, S y) { return x > y || x != x ? x : y; }
DEV S gw_minimum(S x, S y) { return x < y || x != x ? x : y; }
#if FAST && (KIND == 1 || KIND == 2)
DEV S gw_tanh(S x) { return fast_tanh(x); }
DEV S gw_sigmoid(S x) { return (S)0.5 * fast_tanh((S)0.5 * x) + (S)0.5; }
DEV S gw_exp(S x) { return fast_exp(x); }
#elif FAST
DEV S gw_tanh(S x) { return 2 * fast_reciprocal(1 + fast_exp(-2 * x)) - 1; }
DEV S gw_sigmoid(S x) { return fast_reciprocal(1 + fast_exp(-x)); }
DEV S gw_exp(S x) { return fast_exp(x); }
#else
DEV S gw_tanh(S x) { return REAL(tanh)(x); }
DEV S gw_sigmoid(S x) { return 1 / (1 + REAL(exp)(-x)); }
DEV S gw_exp(S x) { return REAL(exp)(x); }
#endif
#define OF_ONE(name) \
    DEV S gw_##name(S x) { return REAL(name)(x); }
#define OF_TWO(name) \
    DEV S gw_##name(S x, S y) { return REAL(name)(x, y); }
OF_ONE(exp2) OF_ONE(expm1) OF_ONE(log) OF_ONE(log1p) OF_ONE(log2) OF_ONE(log10) OF_ONE(erf) OF_ONE(erfc)
OF_ONE(sin) OF_ONE(cos) OF_ONE(tan) OF_ONE(asin) OF_ONE(acos) OF_ONE(atan)
OF_ONE(sinh) OF_ONE(cosh) OF_ONE(asinh) OF_ONE(acosh) OF_ONE(atanh)
OF_ONE(floor) OF_ONE(ceil) OF_ONE(trunc) OF_ONE(nearbyint)
OF_TWO(pow) OF_TWO(atan2) OF_TWO(fmod) OF_TWO(hypot) OF_TWO(copysign) OF_TWO(fmax) OF_TWO(fmin)
