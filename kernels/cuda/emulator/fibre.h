// Threads of one CUDA block as fibres on one OS thread: the interface between kernels and the scheduler (fibre.cpp).
// Blocks of a grid run one after another, so nothing here is locked; the driver allows one launch at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulator {

// What lanes of a warp do together; lanes meet only with lanes that do the same.
enum class Collective : unsigned char { Sync, Shuffle, Vote, Mma, LoadMatrix };

// What a thread waits for outside of its warp (hopper.h).
enum class Parking : unsigned char { None, Barrier, Product };

struct AsyncCopy {
  void* shared;
  const void* global;
  bool valid;
  unsigned group;  // counts copy_async_commit() calls
  size_t bytes;
};

struct Fibre {
  void* stack_pointer;  // saved while another fibre runs
  unsigned char* stack_top;
  uint3 thread_index;
  unsigned warp, lane;
  unsigned copy_groups;             // committed so far
  std::vector<AsyncCopy> copies;    // not yet done; used in adverse order only
  Parking parking;
  unsigned product_groups;  // committed so far
  bool is_fenced;           // since the sums of products were last its own
  bool awaits_products;     // its sums are not its own
};

extern Fibre* current;  // the running fibre
extern dim3 grid_size, block_size;
extern uint3 block_index;
extern unsigned char* dynamic_shared;
extern bool adverse;  // of the running launch
bool asks_for_adverse();  // OSTRO_FAKE_CUDA_ORDER=reverse

// Runs for all lanes of a meeting at once: `operands[lane]` is what each brought, `lanes` the mask of those present.
using Apply = void (*)(void* const* operands, unsigned lanes);

// Waits for all living lanes of `mask`; the last to come runs `apply` (if any).
void meet(Collective kind, unsigned mask, void* operand, Apply apply);

// __syncthreads(): waits for all living threads of the block.
void wait_for_block();

// Leaves the running thread until another one resumes it.
void park(Parking what);
void resume(Fibre* fibre);
// Goes on with a thread that was resumed; the running one is ready.
void give_way(Fibre* to);

// Lanes of this warp that have not returned.
unsigned living_lanes();

// Prints the message with kernel, block and thread, and aborts: for what is undefined on a GPU.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Whether the bytes lie in the running block's shared memory, static or dynamic.
bool is_shared(const void* pointer, size_t bytes);

// As instructions name places in dynamic shared memory; the place of so many bytes, which must lie there.
unsigned address_in_window(const void* pointer);
const void* place_in_window(unsigned address, size_t bytes);

using Entry = void (*)(const void* arguments);

struct Launch {
  const char* name;
  Entry entry;
  const void* arguments;
  dim3 grid, block;
  size_t dynamic_shared_bytes;
  size_t shared_alignment;
};

// Runs a whole grid; returns when it is done.
void run(const Launch& launch);

}  // namespace emulator
