// What a kernel asks of the GPU. emulate.h has the same names for a CPU.
typedef unsigned int u32;
#define DEV __device__ __forceinline__
#define KERNEL(name, Arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Arguments q)
#define SHARED extern __shared__ uint4 shared_memory[];
#define YIELD()

DEV unsigned short to_bfloat16(float x) {
#if __CUDA_ARCH__ >= 800
    unsigned short y;
    asm("{.reg .b16 z; cvt.rn.bf16.f32 z,%1; mov.b16 %0,z;}" : "=h"(y) : "f"(x));
    return y;
#else
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7FFF : (unsigned short)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
#endif
}
DEV float from_half(unsigned short x) {
    float y;
    asm("cvt.f32.f16 %0,%1;" : "=f"(y) : "h"(x));
    return y;
}
DEV unsigned short to_half(float x) {
    unsigned short y;
    asm("cvt.rn.f16.f32 %0,%1;" : "=h"(y) : "f"(x));
    return y;
}
DEV float fast_tanh(float x) {
    float y;
    asm("tanh.approx.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float fast_exp(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}
DEV float fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
}
