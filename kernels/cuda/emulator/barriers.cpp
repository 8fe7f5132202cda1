// Barriers in shared memory (PTX ISA, "mbarrier"): a phase ends when all arrivals have come and all bytes that were
// announced are there; then the next begins. A thread that waits is taken from the scheduler until then, and looks
// again.
#include <cstring>
#include <vector>

#include "hopper.h"

namespace emulator {

namespace {

constexpr unsigned arrivals_max = (1u << 20) - 1, bytes_max = arrivals_max;

// Unwritten memory is neither. Only what is published may be counted by the copy engine.
enum Mark : uint64_t { Initialised = 1, Published = 2 };

struct Barrier {
  uint64_t arrivals : 20;  // of each phase
  uint64_t missing : 20;   // of this one
  int64_t bytes : 21;      // announced, and not there yet
  uint64_t phase : 1;      // its parity
  uint64_t mark : 2;
};
static_assert(sizeof(Barrier) == sizeof(unsigned long long), "a barrier has 8 bytes");

struct Waiter {
  Fibre* fibre;
  const unsigned long long* barrier;
  unsigned parity;
};

std::vector<Waiter> waiters;
std::vector<unsigned long long*> unpublished;  // of the running block

void require_place(const unsigned long long* barrier) {
  if (reinterpret_cast<uintptr_t>(barrier) % 8 || !is_shared(barrier, 8))
    fail("mbarrier: %p is not an aligned place in shared memory", static_cast<const void*>(barrier));
}

bool is_initialised(const Barrier& barrier) { return barrier.mark == Initialised || barrier.mark == Published; }

Barrier load(const unsigned long long* from) {
  require_place(from);
  Barrier barrier;
  memcpy(&barrier, from, sizeof barrier);
  if (!is_initialised(barrier)) fail("mbarrier %p was not initialised", static_cast<const void*>(from));
  return barrier;
}

void store(unsigned long long* to, const Barrier& barrier) { memcpy(to, &barrier, sizeof barrier); }

// Whoever waited for the phase may look again; gives the first of them.
Fibre* resume_waiters(const unsigned long long* barrier, unsigned parity) {
  Fibre* first = nullptr;
  size_t kept = 0;
  for (const Waiter& waiter : waiters) {
    if (waiter.barrier != barrier || waiter.parity != parity) {
      waiters[kept++] = waiter;
      continue;
    }
    resume(waiter.fibre);
    if (!first) first = waiter.fibre;
  }
  waiters.resize(kept);
  return first;
}

Fibre* end_phase_if_due(unsigned long long* at, Barrier barrier) {
  const bool is_due = barrier.missing == 0 && barrier.bytes == 0;
  const unsigned parity = barrier.phase;
  if (is_due) {
    barrier.phase = !parity;
    barrier.missing = barrier.arrivals;
  }
  store(at, barrier);
  return is_due ? resume_waiters(at, parity) : nullptr;
}

}  // namespace

void initialise_barrier(unsigned long long* to, unsigned arrivals) {
  require_place(to);
  Barrier barrier;
  memcpy(&barrier, to, sizeof barrier);
  if (is_initialised(barrier)) fail("mbarrier %p is initialised twice", static_cast<void*>(to));
  if (arrivals == 0 || arrivals > arrivals_max) fail("mbarrier of %u arrivals", arrivals);
  barrier.arrivals = barrier.missing = arrivals;
  barrier.bytes = 0;
  barrier.phase = 0;
  barrier.mark = Initialised;
  store(to, barrier);
  unpublished.push_back(to);
}

void publish_barriers() {
  for (unsigned long long* at : unpublished) {
    Barrier barrier = load(at);
    barrier.mark = Published;
    store(at, barrier);
  }
  unpublished.clear();
}

void require_published(const unsigned long long* barrier) {
  if (load(barrier).mark != Published)
    fail("mbarrier %p: no fence makes it known to the copy engine", static_cast<const void*>(barrier));
}

void arrive(unsigned long long* at, unsigned expected_bytes) {
  Barrier barrier = load(at);
  if (barrier.missing == 0)
    fail("mbarrier %p: more arrivals than its %u", static_cast<void*>(at), unsigned(barrier.arrivals));
  if (barrier.bytes + int64_t(expected_bytes) > bytes_max)
    fail("mbarrier %p expects more than %u bytes", static_cast<void*>(at), bytes_max);
  barrier.missing--;
  barrier.bytes += expected_bytes;
  Fibre* waiter = end_phase_if_due(at, barrier);
  // Who waited looks again at once, or in adverse order after this thread: what this one does too late shows.
  if (waiter && !adverse) give_way(waiter);
}

void complete_bytes(unsigned long long* at, unsigned bytes) {
  Barrier barrier = load(at);
  barrier.bytes -= bytes;
  end_phase_if_due(at, barrier);
}

void wait_for_barrier(unsigned long long* at, unsigned parity) {
  // A GPU polls: who looks again after two phases have ended has missed the first, and waits on.
  while (load(at).phase == parity) {
    waiters.push_back({current, at, parity});
    park(Parking::Barrier);
  }
}

void forget_barriers() {
  unpublished.clear();
  waiters.clear();
}

}  // namespace emulator
