// The device functions that wgmma.cuh wraps around inline assembly, for the emulator: barriers in shared memory, copies
// of boxes (boxes.cpp), and products of a warpgroup (products.cpp).
#pragma once
#include "fibre.h"

namespace emulator {

// barriers.cpp; the state of a barrier lies in its own 8 bytes.
void initialise_barrier(unsigned long long* barrier, unsigned arrivals);
void publish_barriers();
void arrive(unsigned long long* barrier, unsigned expected_bytes);
void wait_for_barrier(unsigned long long* barrier, unsigned parity);
void require_published(const unsigned long long* barrier);
void complete_bytes(unsigned long long* barrier, unsigned bytes);
void forget_barriers();

// boxes.cpp
void start_box(void* to, const void* map, unsigned long long* barrier, int column, int row);

// Where no thread can go on: does a copy that is under way, or products that are waited for; false if there are none.
bool advance_copies();
bool advance_products();
// At a block's end: nothing may be under way, and its barriers are gone.
void require_all_done();

// products.cpp; `columns` are those of B, of which each thread has half as many sums.
void start_product(float* sums, unsigned columns, uint64_t a, uint64_t b, bool accumulate);
void wait_for_products(unsigned groups_left);
void require_products_done();

}  // namespace emulator

#define EXTERN_SHARED_TILES(name) EXTERN_SHARED(name)

inline unsigned shared_address(const void* pointer) { return emulator::address_in_window(pointer); }

inline void barrier_init(unsigned long long* barrier, int arrivals) {
  emulator::initialise_barrier(barrier, unsigned(arrivals));
}
inline void barriers_ready() { emulator::publish_barriers(); }
inline void barrier_expect(unsigned long long* barrier, unsigned bytes) { emulator::arrive(barrier, bytes); }
inline void barrier_arrive(unsigned long long* barrier) { emulator::arrive(barrier, 0); }
inline void barrier_wait(unsigned long long* barrier, unsigned parity) { emulator::wait_for_barrier(barrier, parity); }
inline void copy_box(void* to, const void* map, unsigned long long* barrier, int column, int row) {
  emulator::start_box(to, map, barrier, column, row);
}

inline void wgmma_fence() { emulator::current->is_fenced = true; }
inline void wgmma_commit() { emulator::current->product_groups++; }
template <int PENDING>
void wgmma_wait() { emulator::wait_for_products(PENDING); }
inline void wgmma(float (&d)[128], unsigned long long a, unsigned long long b, int accumulate) {
  emulator::start_product(d, 256, a, b, accumulate != 0);
}
inline void wgmma(float (&d)[64], unsigned long long a, unsigned long long b, int accumulate) {
  emulator::start_product(d, 128, a, b, accumulate != 0);
}

// Registers are not known here.
template <int COUNT>
void keep_registers() { static_assert(COUNT >= 24 && COUNT <= 256 && COUNT % 8 == 0, "as setmaxnreg asks"); }
template <int COUNT>
void take_registers() { keep_registers<COUNT>(); }
