// Kernels of self_test_hopper.cpp: barriers, copies of boxes and products of a warpgroup, done right and, as `rule`
// says, wrong. They compile for a real Hopper too (nvcc -arch=sm_90a).
#include "../args.cuh"
#include "../wgmma.cuh"

enum HopperRule : int {
  RIGHT, NO_WAIT_FOR_COPY, EARLY_RELEASE, READ_BEFORE_WAIT, NO_COMMIT, NO_FENCE, PLAIN_DESCRIPTOR, NOT_PUBLISHED,
  NOT_INITIALISED, INITIALISED_TWICE, TOO_MANY_ARRIVALS, TOO_FEW_ARRIVALS, NO_WAIT_FOR_PRODUCT,
  HALF_A_WARPGROUP, DIFFERENT_PRODUCTS, MISALIGNED_BOX, MISALIGNED_FACTOR, MISSED_PHASE,
};

struct HopperArgs {
  TensorMap left, right;
  // What the sums are at first; null: nothing, and the first product does not add.
  const float* start;
  float* sums;
  unsigned* words;
  int runs, rule, column, row;
  unsigned bytes;
};

// A box as it lies in shared memory. A second box behind it comes with the next phase.
extern "C" __global__ void __launch_bounds__(64) self_test_box(const __grid_constant__ HopperArgs a) {
  EXTERN_SHARED_TILES(tiles);
  __shared__ unsigned long long barrier;
  if (threadIdx.x == 0) {
    barrier_init(&barrier, 1);
    barriers_ready();
  }
  __syncthreads();
  for (int turn = 0; turn < 2; turn++) {
    unsigned char* to = tiles + turn * a.bytes;
    if (threadIdx.x == 0) {
      barrier_expect(&barrier, a.bytes);
      copy_box(to, &a.left, &barrier, a.column, a.row + turn);
    }
    barrier_wait(&barrier, unsigned(turn));
    for (unsigned i = threadIdx.x; i < a.bytes / 4; i += 64)
      a.words[turn * a.bytes / 4 + i] = reinterpret_cast<const unsigned*>(to)[i];
    __syncthreads();  // who still waits for a phase must not miss the next
  }
}

// Breaks a rule of barriers.
extern "C" __global__ void __launch_bounds__(32) self_test_barrier(const __grid_constant__ HopperArgs a) {
  EXTERN_SHARED_TILES(tiles);
  auto* barrier = reinterpret_cast<unsigned long long*>(tiles + a.bytes);
  if (threadIdx.x == 0) {
    if (a.rule != NOT_INITIALISED) barrier_init(barrier, 2);
    if (a.rule == INITIALISED_TWICE) barrier_init(barrier, 2);
    if (a.rule != NOT_PUBLISHED) barriers_ready();
    // The phase does not end while bytes are missing.
    barrier_expect(barrier, a.bytes);
    if (a.rule != TOO_FEW_ARRIVALS) barrier_arrive(barrier);
    if (a.rule == TOO_MANY_ARRIVALS) barrier_arrive(barrier);
    copy_box(tiles + (a.rule == MISALIGNED_BOX ? 64 : 0), &a.left, barrier, 0, 0);
  }
  __syncthreads();
  if (a.rule != NO_WAIT_FOR_COPY) barrier_wait(barrier, 0);
}

// Ends a phase that 31 threads wait for, or that and the next, which brings back the parity of the first.
extern "C" __global__ void __launch_bounds__(32) self_test_phases(const __grid_constant__ HopperArgs a) {
  __shared__ unsigned long long barrier;
  if (threadIdx.x == 0) {
    barrier_init(&barrier, 1);
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_arrive(&barrier);
    if (a.rule == MISSED_PHASE) barrier_arrive(&barrier);
  } else {
    barrier_wait(&barrier, 0);
  }
}

template <int WIDTH>
struct HopperTiles {
  half left[64 * 64], right[WIDTH * 64];
};

template <int WIDTH>
__device__ __forceinline__ void self_test_produce(const HopperArgs& a, HopperTiles<WIDTH>& tiles,
                                                  unsigned long long* barriers) {
  for (int run = 0; run < a.runs; run++) {
    barrier_wait(&barriers[1], unsigned(run + 1) % 2);
    barrier_expect(&barriers[0], sizeof(tiles));
    copy_box(tiles.left, &a.left, &barriers[0], run * 64, 0);
    copy_box(tiles.right, &a.right, &barriers[0], run * 64, 0);
  }
}

template <int WIDTH>
__device__ __forceinline__ void self_test_multiply(const HopperArgs& a, HopperTiles<WIDTH>& tiles,
                                                   unsigned long long* barriers) {
  float sums[WIDTH / 2];
  const int first = (threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4) * WIDTH + threadIdx.x % 4 * 2;
  auto at = [first](int i) { return first + i / 2 % 2 * 8 * WIDTH + i / 4 * 8 + i % 2; };
#pragma unroll
  for (int i = 0; i < WIDTH / 2; i++) sums[i] = a.start ? a.start[at(i)] : 0.f;
  unsigned long long left = tile_descriptor(tiles.left), right = tile_descriptor(tiles.right);
  if (a.rule == PLAIN_DESCRIPTOR) left -= 1ull << 62;
  if (a.rule == MISALIGNED_FACTOR) left += 8;
  for (int run = 0; run < a.runs; run++) {
    if (a.rule != NO_WAIT_FOR_COPY) barrier_wait(&barriers[0], unsigned(run) % 2);
    if (a.rule != NO_FENCE) wgmma_fence();
    if (a.rule == HALF_A_WARPGROUP && threadIdx.x >= 64) return;
    const int own = a.rule == DIFFERENT_PRODUCTS ? int(threadIdx.x / 64) : 0;
    const int adds = a.start || run ? 1 : 0;
#pragma unroll
    for (int k = 0; k < 2; k++) wgmma(sums, left + 2 * k + 2 * own, right + 2 * k, adds + k);
    if (a.rule != NO_COMMIT) wgmma_commit();
    // A thread may ask for the second half before others have seen that the first is done. Sums are theirs between.
    if (a.rule == RIGHT) {
      wgmma_wait<0>();
#pragma unroll
      for (int i = 0; i < WIDTH / 2; i++) sums[i] += 1.f;
    }
    wgmma_fence();
#pragma unroll
    for (int k = 2; k < 4; k++) wgmma(sums, left + 2 * k, right + 2 * k, 1);
    if (a.rule != NO_COMMIT) wgmma_commit();
    if (a.rule == EARLY_RELEASE && threadIdx.x == 0) barrier_arrive(&barriers[1]);
    if (a.rule == READ_BEFORE_WAIT) a.sums[at(0)] = sums[0];
    if (a.rule != NO_WAIT_FOR_PRODUCT) wgmma_wait<0>();
    if (a.rule != EARLY_RELEASE && threadIdx.x == 0) barrier_arrive(&barriers[1]);
  }
#pragma unroll
  for (int i = a.rule == READ_BEFORE_WAIT; i < WIDTH / 2; i++) a.sums[at(i)] = sums[i];
}

// sums (64 x WIDTH) = start + runs + left (64 x 64 runs) right^T, through one stage; a warp copies, a warpgroup
// multiplies.
template <int WIDTH>
__device__ __forceinline__ void self_test_product(const HopperArgs& a) {
  EXTERN_SHARED_TILES(memory);
  auto& tiles = *reinterpret_cast<HopperTiles<WIDTH>*>(memory);
  auto* barriers = reinterpret_cast<unsigned long long*>(memory + sizeof(tiles));
  if (threadIdx.x == 0) {
    barrier_init(&barriers[0], 1);
    barrier_init(&barriers[1], 1);
    barriers_ready();
  }
  __syncthreads();
  if (threadIdx.x < 128) self_test_multiply<WIDTH>(a, tiles, barriers);
  else if (threadIdx.x == 128) self_test_produce<WIDTH>(a, tiles, barriers);
}

extern "C" __global__ void __launch_bounds__(160) self_test_product_128(const __grid_constant__ HopperArgs a) {
  self_test_product<128>(a);
}
extern "C" __global__ void __launch_bounds__(160) self_test_product_256(const __grid_constant__ HopperArgs a) {
  self_test_product<256>(a);
}
