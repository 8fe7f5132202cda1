// Scheduler of the emulated block: starts one fibre a thread, switches where threads wait for each other, and aborts
// with a message on deadlock, on a wild access and on what the GPU leaves undefined.
// Order is fixed: lanes of a warp in turn, then the next warp; OSTRO_FAKE_CUDA_ORDER=reverse turns everything round
// (blocks, warps, lanes) and delays asynchronous copies to their wait, so that a missing barrier shows in one of them.
#include "fibre.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "hopper.h"
#include "shared_memory.h"
#include "switch.h"

namespace emulator {

Fibre* current;
dim3 grid_size, block_size;
uint3 block_index;
unsigned char* dynamic_shared;
bool adverse;

namespace {

constexpr unsigned threads_max = 1024, warps_max = threads_max / 32;
constexpr size_t stack_bytes = 64 << 10;
constexpr size_t guard_bytes = 64 << 10;  // whole pages, whatever their size
// Stacks begin at different places in their pages: at the same place all would compete for the same cache lines.
constexpr size_t stagger_bytes = 64 << 10, stagger_step = 17 * 64;
constexpr size_t stack_stride = guard_bytes + stack_bytes + stagger_bytes;

// Lanes of one warp that wait for the same thing.
struct Meeting {
  Collective kind;
  unsigned mask, arrived;
  void* operands[32];
  Apply apply;
};

struct Warp {
  unsigned living, ready;  // lane masks; the running lane is not in `ready`
  unsigned meeting_count;
  Meeting meetings[32];
};

Launch launched;
Fibre fibres[threads_max];
Warp warps[warps_max];
unsigned ready_warps;  // those with a nonzero `ready`
unsigned threads_alive, threads_at_barrier;
unsigned parked[3];  // threads, by Parking
void* launcher_context;
unsigned char* stacks;

unsigned pick(unsigned mask) { return adverse ? 31 - __builtin_clz(mask) : __builtin_ctz(mask); }

void make_ready(Warp& warp, unsigned lanes) {
  warp.ready |= lanes;
  if (warp.ready) ready_warps |= 1u << (&warp - warps);
}

[[noreturn]] void fail_deadlocked() {
  static const char* const names[] = {"__syncwarp", "a shuffle", "a vote", "mma", "ldmatrix"};
  char text[512];
  int length = snprintf(text, sizeof text, "%u of %u living threads wait at __syncthreads", threads_at_barrier,
                        threads_alive);
  for (unsigned index = 0; index < warps_max && length < 400; index++)
    for (unsigned i = 0; i < warps[index].meeting_count && length < 400; i++) {
      const Meeting& meeting = warps[index].meetings[i];
      length += snprintf(text + length, sizeof text - length, "; warp %u: lanes %08x wait at %s for lanes %08x", index,
                         meeting.arrived, names[int(meeting.kind)],
                         meeting.mask & warps[index].living & ~meeting.arrived);
    }
  fail("deadlock: %s; %u threads wait at mbarriers, %u for the rest of their warpgroup", text,
       parked[int(Parking::Barrier)], parked[int(Parking::Product)]);
}

void take_from_ready(unsigned index, unsigned lane) {
  Warp& warp = warps[index];
  warp.ready &= ~(1u << lane);
  if (!warp.ready) ready_warps &= ~(1u << index);
}

// To a fibre that was ready.
void switch_to(Fibre* next) {
  take_from_ready(next->warp, next->lane);
  Fibre* self = current;
  current = next;
  if (current != self) switch_context(&self->stack_pointer, current->stack_pointer);
}

// Leaves the running fibre, for good or until it is made ready, and goes on with the next: same warp first.
void switch_to_next() {
  while (!ready_warps)
    if (!advance_copies() && !advance_products()) fail_deadlocked();
  unsigned index = current->warp;
  if (!(ready_warps >> index & 1)) index = pick(ready_warps);
  switch_to(&fibres[index * 32 + pick(warps[index].ready)]);
}

void release_block() {
  threads_at_barrier = 0;
  unsigned warp_count = (block_size.x * block_size.y * block_size.z + 31) / 32;
  // At a full barrier every living thread waits there, so all of them go on.
  for (unsigned index = 0; index < warp_count; index++) make_ready(warps[index], warps[index].living);
}

// Runs what the lanes met for; true when all have come.
bool complete(Warp& warp, unsigned index) {
  Meeting& meeting = warp.meetings[index];
  if (meeting.mask & warp.living & ~meeting.arrived) return false;
  if (meeting.apply) meeting.apply(meeting.operands, meeting.arrived);
  make_ready(warp, meeting.arrived);
  if (index != --warp.meeting_count) meeting = warp.meetings[warp.meeting_count];
  return true;
}

// A thread that returns no longer counts: what the others wait for may now be complete.
void leave() {
  Warp& warp = warps[current->warp];
  warp.living &= ~(1u << current->lane);
  threads_alive--;
  for (unsigned index = warp.meeting_count; index-- > 0;) complete(warp, index);
  if (threads_at_barrier && threads_at_barrier == threads_alive) release_block();
  if (threads_alive == 0) switch_context(&current->stack_pointer, launcher_context);
  switch_to_next();
}

void fibre_main() {
  launched.entry(launched.arguments);
  leave();
}

void run_block() {
  unsigned thread_count = block_size.x * block_size.y * block_size.z;
  threads_alive = thread_count;
  threads_at_barrier = 0;
  ready_warps = 0;
  for (unsigned i = 0; i < thread_count; i++) {
    Fibre& fibre = fibres[i];
    fibre.thread_index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
    fibre.warp = i / 32;
    fibre.lane = i % 32;
    fibre.copy_groups = 0;
    fibre.copies.clear();
    fibre.parking = Parking::None;
    fibre.product_groups = 0;
    fibre.is_fenced = fibre.awaits_products = false;
    fibre.stack_top = stacks + (i + 1) * stack_stride - i * stagger_step % stagger_bytes;
    fibre.stack_pointer = start_context(fibre.stack_top, stack_bytes, fibre_main);
  }
  for (unsigned index = 0; index * 32 < thread_count; index++) {
    unsigned lanes = thread_count - index * 32;
    warps[index].living = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    warps[index].ready = warps[index].meeting_count = 0;
    make_ready(warps[index], warps[index].living);
  }
  Fibre* first = &fibres[adverse ? thread_count - 1 : 0];
  take_from_ready(first->warp, first->lane);
  current = first;
  switch_context(&launcher_context, first->stack_pointer);
}

void on_fault(int signal, siginfo_t* info, void*) {
  if (signal == SIGFPE) fail("integer division by zero");
  fail("access to address %p, in no live allocation (or the 64 KiB stack of a thread overflowed)", info->si_addr);
}

// While it lives, faults go to on_fault, on a stack of its own as the fibre's may be full.
class FaultHandler {
 public:
  FaultHandler() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &segmentation_before);
    sigaction(SIGBUS, &action, &bus_before);
    sigaction(SIGFPE, &action, &arithmetic_before);
    static unsigned char memory[64 << 10];
    stack_t own = {};
    own.ss_sp = memory;
    own.ss_size = sizeof memory;
    sigaltstack(&own, &stack_before);
  }
  ~FaultHandler() {
    sigaltstack(&stack_before, nullptr);
    sigaction(SIGSEGV, &segmentation_before, nullptr);
    sigaction(SIGBUS, &bus_before, nullptr);
    sigaction(SIGFPE, &arithmetic_before, nullptr);
  }

 private:
  struct sigaction segmentation_before, bus_before, arithmetic_before;
  stack_t stack_before;
};

void allocate_stacks() {
  size_t total = threads_max * stack_stride;
  void* memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("cannot map %zu bytes of stacks", total);
  stacks = static_cast<unsigned char*>(memory);
  for (unsigned i = 0; i < threads_max; i++) mprotect(stacks + i * stack_stride, guard_bytes, PROT_NONE);
}

}  // namespace

void meet(Collective kind, unsigned mask, void* operand, Apply apply) {
  Warp& warp = warps[current->warp];
  unsigned lane = current->lane;
  if (!(mask >> lane & 1)) fail("warp mask %08x leaves out the lane that names it", mask);
  unsigned index = 0;
  while (index < warp.meeting_count && (warp.meetings[index].kind != kind || warp.meetings[index].mask != mask ||
                                        warp.meetings[index].apply != apply))
    index++;
  Meeting& meeting = warp.meetings[index];
  if (index == warp.meeting_count) {
    warp.meeting_count++;
    meeting.kind = kind;
    meeting.mask = mask;
    meeting.arrived = 0;
    meeting.apply = apply;
  }
  meeting.arrived |= 1u << lane;
  meeting.operands[lane] = operand;
  // The last to come is made ready like the others; which goes on first is the scheduler's choice.
  complete(warp, index);
  switch_to_next();
}

void wait_for_block() {
  threads_at_barrier++;
  if (threads_at_barrier == threads_alive) release_block();
  switch_to_next();
}

void park(Parking what) {
  current->parking = what;
  parked[int(what)]++;
  switch_to_next();
}

void resume(Fibre* fibre) {
  parked[int(fibre->parking)]--;
  fibre->parking = Parking::None;
  make_ready(warps[fibre->warp], 1u << fibre->lane);
}

void give_way(Fibre* to) {
  make_ready(warps[current->warp], 1u << current->lane);
  switch_to(to);
}

unsigned living_lanes() { return warps[current->warp].living; }

void fail(const char* format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  uint3 thread = current ? current->thread_index : uint3{0, 0, 0};
  fprintf(stderr, "emulated GPU: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n",
          launched.name ? launched.name : "(none)", block_index.x, block_index.y, block_index.z, thread.x, thread.y,
          thread.z, text);
  abort();
}

bool asks_for_adverse() {
  const char* order = getenv("OSTRO_FAKE_CUDA_ORDER");
  return order && !strcmp(order, "reverse");
}

void run(const Launch& launch) {
  if (!stacks) allocate_stacks();
  adverse = asks_for_adverse();
  launched = launch;
  grid_size = launch.grid;
  block_size = launch.block;
  dynamic_shared = prepare_shared_memory(launch.dynamic_shared_bytes, launch.shared_alignment);

  FaultHandler fault_handler;
  size_t block_count = size_t(grid_size.x) * grid_size.y * grid_size.z;
  for (size_t i = 0; i < block_count; i++) {
    size_t block = adverse ? block_count - 1 - i : i;
    block_index = {unsigned(block % grid_size.x), unsigned(block / grid_size.x % grid_size.y),
                   unsigned(block / grid_size.x / grid_size.y)};
    poison_shared_memory();
    run_block();
    require_all_done();
    check_shared_memory();
  }
  current = nullptr;
  launched.name = nullptr;
}

}  // namespace emulator
