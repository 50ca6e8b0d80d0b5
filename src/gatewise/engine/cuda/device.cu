// What a kernel asks of the GPU. emulate.h has the same names for a CPU.
typedef unsigned int u32;
#define DEV __device__ __forceinline__
#define METHOD __device__ __forceinline__
#define KERNEL(name, Arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Arguments q)
#define SHARED extern __shared__ uint4 shared_memory[];
#define YIELD()
#define INFINITY __uint_as_float(0x7F800000)
#define NAN __uint_as_float(0x7FFFFFFF)

// A number that the compiler keeps in a register: it would compute it anew at every step.
DEV int pinned(int x) {
    asm volatile("" : "+r"(x));
    return x;
}
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
#if __CUDA_ARCH__ >= 800
DEV u32 two_bfloat16(float low, float high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
DEV u32 two_halves(float low, float high) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0,%1,%2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
#endif
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
DEV float fast_rsqrt(float x) {
    float y;
    asm("rsqrt.approx.f32 %0,%1;" : "=f"(y) : "f"(x));
    return y;
}
DEV float fast_quotient(float x, float y) {
    float z;
    asm("div.full.f32 %0,%1,%2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}

// For sequence.cu. Fragments are those of PTX's mma.sync; what a warp multiplies, only a whole warp may ask for.
#if __CUDA_ARCH__ >= 800
DEV void multiply_bfloat16(float *c, const u32 *a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV void multiply_half(float *c, const u32 *a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV void multiply_tf32(float *c, const u32 *a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// A word of shared memory, of which the compiler assumes nothing.
DEV u32 read_anew(const u32 *from) {
    u32 word;
    asm volatile("ld.volatile.shared.u32 %0,[%1];" : "=r"(word) : "r"((u32)__cvta_generic_to_shared(from)));
    return word;
}
DEV u32 to_tf32(float x) {
    u32 y;
    asm("cvt.rna.tf32.f32 %0,%1;" : "=r"(y) : "f"(x));
    return y;
}
// An asynchronous copy of one word into shared memory; copies are committed in groups and waited for in order.
DEV void copy_word(u32 *to, const void *from) {
    asm volatile("cp.async.ca.shared.global [%0],[%1],4;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
DEV void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int STILL_OPEN> DEV void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(STILL_OPEN) : "memory");
}
// Words that other blocks write while this one reads: each is whole, and is seen in the end.
DEV u32 read_shared_word(const u32 *from) {
    u32 word;
    asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(word) : "l"(from));
    return word;
}
DEV uint4 read_shared_words(const u32 *from) {
    uint4 words;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3},[%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(from));
    return words;
}
DEV void write_shared_word(u32 *to, u32 word) {
    asm volatile("st.relaxed.gpu.global.u32 [%0],%1;" ::"l"(to), "r"(word) : "memory");
}
#endif
#if __CUDA_ARCH__ >= 900
// The same within a cluster: a word to the same place in the shared memory of another block, and one of this block's own.
DEV void write_word_to_block(u32 *place, int block, u32 word) {
    u32 local = (u32)__cvta_generic_to_shared(place), there;
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(there) : "r"(local), "r"(block));
    asm volatile("st.relaxed.cluster.shared::cluster.u32 [%0],%1;" ::"r"(there), "r"(word) : "memory");
}
DEV u32 read_word_of_block(const u32 *place) {
    u32 word;
    asm volatile("ld.relaxed.cluster.shared::cta.u32 %0,[%1];" : "=r"(word) : "r"((u32)__cvta_generic_to_shared(place)) : "memory");
    return word;
}
DEV void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
DEV void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// Write to the same place in the shared memory of another block of the cluster.
DEV void write_to_block(u32 *place, int block, u32 word) {
    u32 local = (u32)__cvta_generic_to_shared(place), there;
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(there) : "r"(local), "r"(block));
    asm volatile("st.shared::cluster.u32 [%0],%1;" ::"r"(there), "r"(word) : "memory");
}
DEV void write_to_block(float4 *place, int block, float4 x) {
    u32 local = (u32)__cvta_generic_to_shared(place), there;
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(there) : "r"(local), "r"(block));
    asm volatile("st.shared::cluster.v4.f32 [%0],{%1,%2,%3,%4};" ::"r"(there), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w) : "memory");
}
DEV void write_to_block(float2 *place, int block, float2 x) {
    u32 local = (u32)__cvta_generic_to_shared(place), there;
    asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(there) : "r"(local), "r"(block));
    asm volatile("st.shared::cluster.v2.f32 [%0],{%1,%2};" ::"r"(there), "f"(x.x), "f"(x.y) : "memory");
}
#endif
