// A GPU on the CPU, for checking: every thread is a fiber, and what waits for others takes turns with them. Shared memory
// starts poisoned, and so does what an asynchronous copy has not been waited for. Races of memory order stay unseen.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>
using std::max;
using std::min;
typedef unsigned int u32;
#define DEV static inline
#define METHOD inline
#define YIELD() emulated::turn()
struct uint4 { u32 x, y, z, w; };
struct float4 { float x, y, z, w; };
struct float2 { float x, y; };
struct Place { int x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
const u32 POISON = 0x7FC07FC0u;
const int CANARIES = 64;
struct Barrier { int arrived = 0, round = 0; };
struct Warp { Barrier barrier; u32 a[32][4], b[32][2]; float sent[32]; };
struct Block { Barrier barrier; std::vector<uint4> shared; std::vector<Warp> warps; };
struct Copy { void *to; const void *from; int bytes; };
struct Fiber { ucontext_t context; int block, thread; bool done; std::vector<char> stack; std::vector<Copy> open; std::vector<std::vector<Copy>> groups; };
static std::vector<Block> blocks;
static std::vector<Barrier> clusters;
static std::vector<Fiber> fibers;
static int current, cluster_size;
static ucontext_t scheduler;
static void (*entry)(const void *);
static const void *arguments;

static void turn() { swapcontext(&fibers[current].context, &scheduler); }
static void wait(Barrier &barrier, int count) {
    int round = barrier.round;
    if (++barrier.arrived == count) barrier.arrived = 0, barrier.round++;
    else while (barrier.round == round) turn();
}
static Block &block() { return blocks[fibers[current].block]; }
static Warp &warp() { return block().warps[fibers[current].thread / 32]; }
static int lane() { return fibers[current].thread % 32; }
static void run() {
    entry(arguments);
    fibers[current].done = true;
    while (true) turn();
}
// 0; 1 where the fibers wait for each other in vain, 2 where one has written beyond the shared memory.
static int launch(void (*function)(const void *), const void *given, int grid, int models, int threads, int bytes, int cluster) {
    entry = function, arguments = given, cluster_size = max(cluster, 1);
    const int count = grid * models;
    blockDim.x = threads, gridDim.x = grid, gridDim.y = models;
    blocks.assign(count, Block()), clusters.assign(count / cluster_size + 1, Barrier()), fibers.clear(), fibers.resize((size_t)count * threads);
    for (auto &b : blocks) {
        uint4 poison = {POISON, POISON, POISON, POISON};
        b.shared.assign(bytes / 16 + CANARIES, poison), b.warps.resize((threads + 31) / 32);
    }
    for (size_t i = 0; i < fibers.size(); i++) {
        Fiber &f = fibers[i];
        f.block = (int)(i / threads), f.thread = (int)(i % threads), f.done = false, f.stack.resize(1 << 16);
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data(), f.context.uc_stack.ss_size = f.stack.size(), f.context.uc_link = nullptr;
        makecontext(&f.context, run, 0);
    }
    for (long rounds = 0, left = 1; left; rounds++) {
        if (rounds > 5000000) return 1;
        left = 0;
        for (size_t i = 0; i < fibers.size(); i++) {
            if (fibers[i].done) continue;
            current = (int)i, threadIdx.x = fibers[i].thread;
            blockIdx.x = fibers[i].block % grid, blockIdx.y = fibers[i].block / grid;
            swapcontext(&scheduler, &fibers[i].context);
            left += !fibers[i].done;
        }
    }
    for (auto &b : blocks)
        for (size_t i = (bytes + 15) / 16; i < b.shared.size(); i++)
            if (b.shared[i].x != POISON || b.shared[i].y != POISON || b.shared[i].z != POISON || b.shared[i].w != POISON) return 2;
    return 0;
}
}  // namespace emulated

#define KERNEL(name, Arguments, threads)                                                                               \
    static void name##_of(const Arguments &q);                                                                         \
    static void name##_entry(const void *given) { name##_of(*(const Arguments *)given); }                              \
    extern "C" int name(const void *given, int grid, int models, int block, int bytes, int cluster) {                  \
        return emulated::launch(name##_entry, given, grid, models, block, bytes, cluster);                             \
    }                                                                                                                  \
    static void name##_of(const Arguments &q)
#define SHARED uint4 *shared_memory = emulated::block().shared.data();

DEV float __uint_as_float(u32 x) { float y; memcpy(&y, &x, 4); return y; }
DEV u32 __float_as_uint(float x) { u32 y; memcpy(&y, &x, 4); return y; }
static void __syncthreads() { emulated::wait(emulated::block().barrier, blockDim.x); }
static void __syncwarp() { emulated::wait(emulated::warp().barrier, 32); }
DEV int pinned(int x) { return x; }
DEV unsigned short to_bfloat16(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7FFF : (unsigned short)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
DEV float from_half(unsigned short x) {
    u32 sign = (u32)(x & 0x8000) << 16, exponent = (x >> 10) & 31, fraction = x & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7F800000 | fraction << 13);
    float value = exponent ? std::ldexp(1024.0f + fraction, (int)exponent - 25) : std::ldexp((float)fraction, -24);
    return sign ? -value : value;
}
DEV unsigned short to_half(float x) {
    unsigned short sign = std::signbit(x) ? 0x8000 : 0;
    if (x != x) return 0x7FFF;
    float size = std::fabs(x);
    if (size >= 65520) return sign | 0x7C00;
    int exponent = 0;
    std::frexp(size, &exponent);
    exponent = max(exponent, -13);  // 2^-14 is the least normal number
    float unit = std::ldexp(1.0f, exponent - 11);
    float places = std::nearbyint(size / unit);  // 1024 … 2048, or fewer where it is subnormal
    if (places == 2048) places = 1024, exponent++;
    return places < 1024 ? sign | (unsigned short)places : sign | (unsigned short)((exponent + 14) << 10) | (unsigned short)(places - 1024);
}
DEV u32 two_bfloat16(float low, float high) { return (u32)to_bfloat16(low) | (u32)to_bfloat16(high) << 16; }
DEV u32 two_halves(float low, float high) { return (u32)to_half(low) | (u32)to_half(high) << 16; }
DEV float fast_tanh(float x) { return std::tanh(x); }
DEV float fast_exp(float x) { return std::exp(x); }
DEV float fast_reciprocal(float x) { return 1 / x; }
DEV float fast_rsqrt(float x) { return 1 / std::sqrt(x); }
DEV float fast_quotient(float x, float y) { return x / y; }

// What sequence.cu asks for.
static void cluster_arrive() {}
static void cluster_wait() {
    emulated::wait(emulated::clusters[emulated::fibers[emulated::current].block / emulated::cluster_size], emulated::cluster_size * blockDim.x);
}
static void write_to_block(u32 *place, int block, u32 word) {
    const int mine = emulated::fibers[emulated::current].block, other = mine / emulated::cluster_size * emulated::cluster_size + block;
    ((u32 *)emulated::blocks[other].shared.data())[place - (u32 *)emulated::blocks[mine].shared.data()] = word;
}
template <class X> static void write_to_block(X *place, int block, X x) {
    u32 words[sizeof(X) / 4];
    memcpy(words, &x, sizeof x);
    for (size_t i = 0; i < sizeof(X) / 4; i++) write_to_block((u32 *)place + i, block, words[i]);
}
static void write_word_to_block(u32 *place, int block, u32 word) { write_to_block(place, block, word); }
DEV u32 read_word_of_block(const u32 *place) { return *place; }
static void copy_word(u32 *to, const void *from) {
    *to = emulated::POISON;
    emulated::fibers[emulated::current].open.push_back({to, from, 4});
}
static void commit_copies() {
    emulated::Fiber &f = emulated::fibers[emulated::current];
    f.groups.push_back(f.open), f.open.clear();
}
template <int STILL_OPEN> static void wait_for_copies() {
    emulated::Fiber &f = emulated::fibers[emulated::current];
    while ((int)f.groups.size() > STILL_OPEN) {
        for (auto &copy : f.groups[0]) memcpy(copy.to, copy.from, copy.bytes);
        f.groups.erase(f.groups.begin());
    }
}
DEV u32 read_shared_word(const u32 *from) { return *from; }
DEV uint4 read_shared_words(const u32 *from) {
    if ((uintptr_t)from % 16) abort();  // a GPU would end with an error
    return {from[0], from[1], from[2], from[3]};
}
DEV void write_shared_word(u32 *to, u32 word) { *to = word; }
static float __shfl_sync(u32, float x, int from) {
    emulated::Warp &w = emulated::warp();
    w.sent[emulated::lane()] = x;
    __syncwarp();
    x = w.sent[from];
    __syncwarp();
    return x;
}
DEV u32 read_anew(const u32 *from) { return *from; }
static float __shfl_xor_sync(u32 all, float x, int mask) { return __shfl_sync(all, x, emulated::lane() ^ mask); }
DEV u32 to_tf32(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? bits : (bits + 0x1000) & ~0x1FFFu;
}
// A sum as a tensor core adds it up in float32: every addend is cut off below the last digit of the largest, and the result
// toward zero. (GPUs have a digit or two more than that.)
static float added_up(const float *addends, int count) {
    double largest = 0, sum = 0;
    for (int i = 0; i < count; i++) {
        if (!std::isfinite(addends[i])) { for (int j = 0; j < count; j++) sum += addends[j]; return (float)sum; }
        largest = max(largest, std::fabs((double)addends[i]));
    }
    if (largest == 0) return 0;
    int exponent = 0;
    std::frexp(largest, &exponent);
    const double digit = std::ldexp(1.0, exponent - 24);
    for (int i = 0; i < count; i++) sum += std::trunc(addends[i] / digit) * digit;
    const float rounded = (float)sum;
    return std::fabs((double)rounded) > std::fabs(sum) ? std::nextafter(rounded, 0.0f) : rounded;
}
// D += A B for a warp, in the fragments' layout: m16n8k16 of pairs (`pairs`), m16n8k8 of words.
static void multiply_fragments(float *c, const u32 *a, u32 b0, u32 b1, bool pairs, float (*value)(u32, int)) {
    emulated::Warp &w = emulated::warp();
    const int lane = emulated::lane(), g = lane / 4, q = lane % 4;
    for (int i = 0; i < 4; i++) w.a[lane][i] = a[i];
    w.b[lane][0] = b0, w.b[lane][1] = b1;
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const int row = g + i / 2 * 8, column = q * 2 + i % 2, count = pairs ? 16 : 8;
        float addends[17] = {c[i]};
        for (int k = 0; k < count; k++) {
            const int half = pairs ? 8 : 4, of_lane = pairs ? k % 8 / 2 : k % 4;
            addends[1 + k] = value(w.a[row % 8 * 4 + of_lane][row / 8 + k / half * 2], k % 2) * value(w.b[column * 4 + of_lane][k / half], k % 2);
        }
        c[i] = added_up(addends, 1 + count);
    }
    __syncwarp();
}
// Of a word of TF32 the last 13 bits are not read.
DEV float word_value(u32 word, int) { return __uint_as_float(word & 0xFFFFE000u); }
DEV float bfloat16_value(u32 word, int odd) { return __uint_as_float(odd ? word & 0xFFFF0000u : word << 16); }
DEV float half_value(u32 word, int odd) { return from_half(odd ? word >> 16 : word & 0xFFFF); }
static void multiply_tf32(float *c, const u32 *a, u32 b0, u32 b1) { multiply_fragments(c, a, b0, b1, false, word_value); }
static void multiply_bfloat16(float *c, const u32 *a, u32 b0, u32 b1) { multiply_fragments(c, a, b0, b1, true, bfloat16_value); }
static void multiply_half(float *c, const u32 *a, u32 b0, u32 b1) { multiply_fragments(c, a, b0, b1, true, half_value); }
