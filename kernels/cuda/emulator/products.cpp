// Products of warpgroups from shared memory (PTX ISA, "wgmma.mma_async"): m64nNk16, f16 into f32, both factors in rows
// of 128 swizzled bytes. A product starts when all 128 threads have asked for it, and its sums are in their registers
// once the wait for its group is over; until then these read as NaN. It reads its factors as late as may be, when no
// thread can go on without it; in adverse order, where copies are late, as early: at its start.
#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "hopper.h"
#include "tensor.h"

namespace emulator {

namespace {

constexpr unsigned rows = 64, depth = 16, threads = 128, columns_max = 256, groups_max = 8;

// The matrix descriptor's fields, in bytes. Rows follow each other by 128 bytes, eight rows by `stride`.
struct Factor {
  unsigned begin, stride;

  explicit Factor(uint64_t descriptor)
      : begin(unsigned(descriptor & 0x3FFF) << 4), stride(unsigned(descriptor >> 32 & 0x3FFF) << 4) {
    if (descriptor >> 62 != 1) fail("wgmma: a factor that is not swizzled by 128 bytes; the emulator has no other");
    if (descriptor >> 49 & 7 || begin >> 7 & 7) fail("wgmma: a factor that does not begin where its swizzle does");
  }

  // Eight halves.
  const void* at(unsigned row, unsigned column) const {
    const unsigned address = begin + row / 8 * stride + row % 8 * 128 + column * 2;
    return place_in_window(address ^ (address >> 3 & 0x70), 16);
  }
};

struct Request {
  uint64_t a, b;
  unsigned columns, group;
  bool accumulate;

  bool is_like(const Request& other) const {
    return a == other.a && b == other.b && columns == other.columns && group == other.group &&
           accumulate == other.accumulate;
  }
};

struct Product {
  Request request;
  bool is_read = false;
  uint16_t left[rows][depth], right[columns_max][depth];
};

struct Warpgroup {
  Fibre* arrived[threads];
  unsigned arrived_count;
  Request next;  // what those who arrived ask for
  Request last;  // what all have asked for
  std::deque<Product> under_way;
  std::vector<Fibre*> waiting;
  unsigned due;  // groups below it are waited for
  float* registers[threads];
  float sums[rows][columns_max];  // of the products that were done last, or are next
};

Warpgroup warpgroups[groups_max];

unsigned thread_of(const Fibre& fibre) { return fibre.warp % 4 * 32 + fibre.lane; }

void read_factors(Product& product) {
  const Factor a(product.request.a), b(product.request.b);
  const unsigned columns = product.request.columns;
  for (unsigned k = 0; k < depth; k += 8) {
    for (unsigned row = 0; row < rows; row++) memcpy(product.left[row] + k, a.at(row, k), 16);
    for (unsigned row = 0; row < columns; row++) memcpy(product.right[row] + k, b.at(row, k), 16);
  }
  product.is_read = true;
}

// Thread (r, q) of warp w has the sums of rows 16 w + r and + 8, of columns 8 j + 2 q and + 1.
template <class Copy>
void for_each_register(Warpgroup& group, unsigned thread, unsigned columns, Copy copy) {
  const unsigned row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
  for (unsigned i = 0; i < columns / 2; i++) {
    float* sums = group.sums[row + i / 2 % 2 * 8];
    copy(group.registers[thread][i], sums[column + i / 4 * 8 + i % 2]);
  }
}

// From here on the registers are the product's: those that are the thread's own are taken in first.
void take_registers(Warpgroup& group, unsigned thread, Fibre& fibre, float* registers, unsigned columns) {
  if (fibre.awaits_products) {
    if (group.registers[thread] != registers)
      fail("wgmma: other sums while products are under way, which the emulator does not have");
    return;
  }
  if (!fibre.is_fenced) fail("wgmma: no wgmma.fence since its sums were the thread's own");
  group.registers[thread] = registers;
  for_each_register(group, thread, columns, [](float& own, float& sum) {
    sum = own;
    memset(&own, 0xFF, sizeof own);
  });
  fibre.awaits_products = true;
}

void start(Warpgroup& group) {
  if (!group.under_way.empty() && group.under_way.back().request.columns != group.next.columns)
    fail("wgmma: another shape while products are under way, which the emulator does not have");
  group.last = group.next;
  group.under_way.emplace_back();
  group.under_way.back().request = group.last;
  if (adverse) read_factors(group.under_way.back());
}

void perform(Warpgroup& group, Product& product) {
  if (!product.is_read) read_factors(product);
  if (!product.request.accumulate) memset(group.sums, 0, sizeof group.sums);
  multiply_rows(group.sums, product.left, rows, product.right, product.request.columns);
}

bool has_due(const Warpgroup& group, unsigned due) {
  return !group.under_way.empty() && group.under_way.front().request.group < due;
}

}  // namespace

void start_product(float* sums, unsigned columns, uint64_t a, uint64_t b, bool accumulate) {
  Fibre& self = *current;
  Warpgroup& group = warpgroups[self.warp / 4];
  const Request request = {a, b, columns, self.product_groups, accumulate};
  if (group.arrived_count == 0) group.next = request;
  else if (!group.next.is_like(request)) fail("wgmma: the threads of a warpgroup ask for different products");
  take_registers(group, thread_of(self), self, sums, columns);
  group.arrived[group.arrived_count++] = &self;
  if (group.arrived_count < threads) return park(Parking::Product);
  group.arrived_count = 0;
  start(group);
  for (Fibre* fibre : group.arrived)
    if (fibre != &self) resume(fibre);
}

void wait_for_products(unsigned groups_left) {
  Fibre& self = *current;
  Warpgroup& group = warpgroups[self.warp / 4];
  const unsigned due = self.product_groups - std::min(groups_left, self.product_groups);
  if (has_due(group, due)) {
    group.due = std::max(group.due, due);
    group.waiting.push_back(&self);
    park(Parking::Product);
  }
  if (!self.awaits_products || group.last.group >= due) return;
  for_each_register(group, thread_of(self), group.last.columns, [](float& own, float& sum) { own = sum; });
  self.awaits_products = self.is_fenced = false;
}

bool advance_products() {
  for (Warpgroup& group : warpgroups) {
    if (group.waiting.empty()) continue;
    for (; has_due(group, group.due); group.under_way.pop_front()) perform(group, group.under_way.front());
    for (Fibre* fibre : group.waiting) resume(fibre);
    group.waiting.clear();
    group.due = 0;
    return true;
  }
  return false;
}

void require_products_done() {
  for (Warpgroup& group : warpgroups)
    if (!group.under_way.empty()) fail("the block ended while products of a warpgroup were under way");
}

}  // namespace emulator
