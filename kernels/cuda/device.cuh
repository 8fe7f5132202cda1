// What every kernel uses: tensor-core products, asynchronous copies, sums over a warp. On a machine without a GPU the
// same names come from the emulator, so kernels are tested there; no kernel names an instruction itself.
#pragma once

#ifdef OSTRO_EMULATED
#include "emulator/cuda_emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define EXTERN_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

// D += A B: 16 x 16 times 16 x 8, f16 into f32.
__device__ __forceinline__ void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 16 bytes; zeros where there is nothing to copy.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

// As copy_async_16, through the first cache, for what other warps read too.
__device__ __forceinline__ void copy_async_shared_16(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

__device__ __forceinline__ void copy_async_8(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ unsigned prmt(unsigned a, unsigned b, unsigned selector) {
    return __byte_perm(a, b, selector);
}

// A kernel may start before the one before it has ended: it waits for that one's results here, and lets the next start.
// The instructions are of compute capability 9.0; the loader puts them in place of these lines there (device.rs).
// Only step tables and weights are read before the wait: both are older than the step's first kernel.
__device__ __forceinline__ void dependency_wait() { asm volatile("// ostro: wait" ::: "memory"); }
__device__ __forceinline__ void dependency_launch() { asm volatile("// ostro: launch" ::: "memory"); }

// Towards the device's cache; reads nothing.
__device__ __forceinline__ void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// Loads that stay before the products that follow them in the source, so that all are under way together.
__device__ __forceinline__ uint4 load_early(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ uint2 load_early(const uint2* p) {
    uint2 v;
    asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p) : "memory");
    return v;
}
#endif

#ifdef OSTRO_EMULATED
inline void prefetch(const void*) {}
inline void copy_async_shared_16(void* shared, const void* global) { copy_async_16(shared, global, true); }
template <class T>
inline T load_early(const T* p) { return *p; }
#endif

__device__ __forceinline__ float warp_sum(float v) {
    for (int step = 16; step; step >>= 1) v += __shfl_xor_sync(~0u, v, step);
    return v;
}

__device__ __forceinline__ float warp_max(float v) {
    for (int step = 16; step; step >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, step));
    return v;
}

__device__ __forceinline__ unsigned half2_bits(half2 v) { return *reinterpret_cast<unsigned*>(&v); }

// f16 nearest to v, finite.
__device__ __forceinline__ half to_half(float v) { return __float2half_rn(fminf(fmaxf(v, -65504.f), 65504.f)); }
