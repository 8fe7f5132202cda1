// Tests of what the emulator has of Hopper: tensor maps, copies of boxes, barriers, products of a warpgroup. What is
// right must be so in both orders; what is wrong must show, in the order that can show it.
#include <cmath>
#include <cstring>
#include <functional>

#include "self_test.h"
#include "self_test_numbers.h"

extern "C" int cuTensorMapEncodeTiled(void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const unsigned*,
                                      const unsigned*, int, int, int, int);

namespace {

struct alignas(64) TensorMap { unsigned char bytes[128]; };

// Mirrors of self_test_hopper.cu.
enum HopperRule : int {
  RIGHT, NO_WAIT_FOR_COPY, EARLY_RELEASE, READ_BEFORE_WAIT, NO_COMMIT, NO_FENCE, PLAIN_DESCRIPTOR, NOT_PUBLISHED,
  NOT_INITIALISED, INITIALISED_TWICE, TOO_MANY_ARRIVALS, TOO_FEW_ARRIVALS, NO_WAIT_FOR_PRODUCT, HALF_A_WARPGROUP,
  DIFFERENT_PRODUCTS, MISALIGNED_BOX, MISALIGNED_FACTOR, MISSED_PHASE,
};
struct HopperArgs {
  TensorMap left, right;
  CUdeviceptr start, sums, words;
  int runs, rule, column, row;
  unsigned bytes;
};

int launch_hopper(const char* name, const HopperArgs& arguments, unsigned threads, unsigned shared_bytes) {
  void* parameters[] = {const_cast<HopperArgs*>(&arguments)};
  return cuLaunchKernel(find_kernel(name), 1, 1, 1, threads, 1, 1, shared_bytes, nullptr, parameters, nullptr);
}

constexpr int half_type = 6, swizzle_128 = 3;

// What cuTensorMapEncodeTiled is told of a matrix of halves.
struct Matrix {
  int type = half_type;
  unsigned rank = 2;
  CUdeviceptr address = 0;
  uint64_t sizes[3] = {}, strides[2] = {};
  unsigned box[3] = {64, 64, 1}, steps[3] = {1, 1, 1};
  int interleave = 0, swizzle = swizzle_128, promotion = 3, fill = 0;

  Matrix(CUdeviceptr address_, uint64_t columns, uint64_t rows)
      : address(address_), sizes{columns, rows, 1}, strides{columns * 2, columns * rows * 2} {}
  int encode(TensorMap* map) const {
    return cuTensorMapEncodeTiled(map, type, rank, reinterpret_cast<void*>(address), sizes, strides, box, steps,
                                  interleave, swizzle, promotion, fill);
  }
  TensorMap map() const {
    TensorMap encoded;
    check(encode(&encoded) == 0, "tensor map");
    return encoded;
  }
};

void test_tensor_map_arguments() {
  struct { const char* what; std::function<void(Matrix&)> change; } wrong[] = {
      {"type", [](Matrix& m) { m.type = 16; }},
      {"rank 0", [](Matrix& m) { m.rank = 0; }},
      {"rank 6", [](Matrix& m) { m.rank = 6; }},
      {"address", [](Matrix& m) { m.address += 8; }},
      {"no columns", [](Matrix& m) { m.sizes[0] = 0; }},
      {"too many rows", [](Matrix& m) { m.sizes[1] = (uint64_t(1) << 32) + 1; }},
      {"stride", [](Matrix& m) { m.strides[0] += 8; }},
      {"large stride", [](Matrix& m) { m.strides[0] = uint64_t(1) << 40; }},
      {"empty box", [](Matrix& m) { m.box[1] = 0; }},
      {"large box", [](Matrix& m) { m.box[1] = 257; }},
      {"box of 12 bytes a row", [](Matrix& m) { m.box[0] = 6; }},
      {"box wider than its swizzle", [](Matrix& m) { m.box[0] = 72; }},
      {"box wider than a swizzle of 64", [](Matrix& m) { m.swizzle = 2; }},
      {"step 0", [](Matrix& m) { m.steps[1] = 0; }},
      {"step 9", [](Matrix& m) { m.steps[1] = 9; }},
      {"interleaved matrix", [](Matrix& m) { m.interleave = 1; }},
      {"swizzle", [](Matrix& m) { m.swizzle = 7; }},
      {"promotion", [](Matrix& m) { m.promotion = 4; }},
      {"NaN for integers", [](Matrix& m) { m.type = 1, m.fill = 1; }},
  };
  const Matrix right(4096, 80, 70);
  TensorMap map;
  check(right.encode(&map) == 0, "tensor map");
  check(right.encode(reinterpret_cast<TensorMap*>(map.bytes + 32)) == 1, "misaligned tensor map");
  for (auto& one : wrong) {
    Matrix matrix = right;
    one.change(matrix);
    int error = matrix.encode(&map);
    check(error == 1, "tensor map, %s: error %d, not 1", one.what, error);
  }
}

std::vector<unsigned short> random_halves(size_t count) {
  std::vector<unsigned short> halves(count);
  for (auto& half : halves) half = (unsigned short)nearest(int(random_bits() % 17) - 8, 10, 15);
  return halves;
}

// Each place of shared memory has what the swizzle puts there.
void test_box(int swizzle, unsigned width, int column, int row, bool nan) {
  const int columns = 80, rows = 70, box_rows = 64;
  const auto halves = random_halves(size_t(columns * rows));
  Buffer<unsigned short> device(halves);
  Matrix matrix(device.pointer, columns, rows);
  matrix.box[0] = width;
  matrix.swizzle = swizzle;
  matrix.fill = nan;
  const unsigned bytes = width * 2 * box_rows;
  Buffer<unsigned> words(bytes / 2);
  HopperArgs arguments = {matrix.map(), {}, 0, 0, words.pointer, 0, 0, column, row, bytes};
  check(launch_hopper("self_test_box", arguments, 64, 2 * bytes) == 0, "launch of self_test_box");
  const auto found = words.read();
  for (int turn = 0; turn < 2; turn++)
    for (unsigned i = 0; i < bytes / 2; i++) {
      // Lines of 128 bytes, chunks of 16: within 2, 4 or 8 of them the line's number is mixed in.
      const unsigned line = i / 64, chunk = i % 64 / 8;
      const unsigned from = line * 64 + (chunk ^ line % (1u << swizzle)) * 8 + i % 8;
      const int r = row + turn + int(from / width), c = column + int(from % width);
      const bool inside = r >= 0 && c >= 0 && r < rows && c < columns;
      const unsigned expected = inside ? halves[size_t(r * columns + c)] : nan ? 0xFFFF : 0;
      const unsigned word = found[(unsigned(turn) * bytes + i * 2) / 4], half = i % 2 ? word >> 16 : word & 0xFFFF;
      check(half == expected, "box, swizzle %d, at (%d, %d), half %u: %#x, not %#x", swizzle, column, row, i, half,
            expected);
    }
}

// The sums that a rule gives, and what they should be.
struct Product {
  std::vector<float> found, expected;

  Product(unsigned width, bool from_start, int rule, int runs = 3) {
    const unsigned columns = unsigned(runs) * 64;
    const auto left = random_halves(64 * columns), right = random_halves(width * columns);
    std::vector<float> start(64 * width);
    for (float& value : start) value = from_start ? float(random_bits() % 100) : 0;
    Buffer<unsigned short> device_left(left), device_right(right);
    Buffer<float> device_start(start), sums(64 * width);
    Matrix a(device_left.pointer, columns, 64), b(device_right.pointer, columns, width);
    b.box[1] = width;
    const unsigned bytes = (64 + width) * 128;
    const CUdeviceptr from = from_start ? device_start.pointer : 0;
    HopperArgs arguments = {a.map(), b.map(), from, sums.pointer, 0, runs, rule, 0, 0, bytes};
    const char* name = width == 128 ? "self_test_product_128" : "self_test_product_256";
    check(launch_hopper(name, arguments, 160, bytes + 16) == 0, "launch of %s", name);
    found = sums.read();
    for (unsigned row = 0; row < 64; row++)
      for (unsigned column = 0; column < width; column++) {
        double sum = start[row * width + column] + (rule == RIGHT ? runs : 0);
        for (unsigned k = 0; k < columns; k++)
          sum += half_value(left[row * columns + k]) * half_value(right[column * columns + k]);
        expected.push_back(float(sum));
      }
  }
  bool is_right() const { return found == expected; }
};

void test_product(unsigned width, bool from_start) {
  const Product product(width, from_start, RIGHT);
  for (size_t i = 0; i < product.found.size(); i++)
    check(product.found[i] == product.expected[i], "product (%zu, %zu) of width %u: %g, not %g", i / width, i % width,
          width, product.found[i], product.expected[i]);
}

// Early copies and late products show what is released too early; late copies and early products, what is read so.
void test_races(bool is_forward) {
  check(Product(256, false, EARLY_RELEASE).is_right() == !is_forward, "an early release must show in forward order");
  check(Product(256, false, NO_WAIT_FOR_COPY, 1).is_right() == is_forward, "a missing wait must show in reverse order");
  check(std::isnan(Product(256, false, READ_BEFORE_WAIT).found[0]), "sums read before the wait must be NaN");
}

template <int rule>
void multiply() { Product(256, false, rule); }

template <int rule, int more_bytes = 0>
void use_barrier() {
  const auto halves = random_halves(64 * 64);
  Buffer<unsigned short> device(halves);
  const unsigned bytes = 64 * 128 + more_bytes;
  HopperArgs arguments = {Matrix(device.pointer, 64, 64).map(), {}, 0, 0, 0, 0, rule, 0, 0, bytes};
  launch_hopper("self_test_barrier", arguments, 32, bytes + 8);
}

void copy_by_no_map() { launch_hopper("self_test_barrier", {{}, {}, 0, 0, 0, 0, RIGHT, 0, 0, 8192}, 32, 8200); }

// In reverse order the others wait already, and have not looked again when the second phase ends.
template <int rule>
void end_phases() {
  setenv("OSTRO_FAKE_CUDA_ORDER", "reverse", 1);
  launch_hopper("self_test_phases", {{}, {}, 0, 0, 0, 0, rule, 0, 0, 0}, 32, 0);
}

void leave_copy_under_way() {
  setenv("OSTRO_FAKE_CUDA_ORDER", "reverse", 1);
  use_barrier<NO_WAIT_FOR_COPY>();
}

void test_broken() {
  auto ends_well = run_in_child(use_barrier<RIGHT>);
  check(ends_well.first == 0, "a barrier that is used right: %s", ends_well.second.c_str());
  ends_well = run_in_child(end_phases<RIGHT>);
  check(ends_well.first == 0, "a phase that is waited for: %s", ends_well.second.c_str());
  test_abort("phases", end_phases<MISSED_PHASE>, "31 threads wait at mbarriers");
  test_abort("bytes", use_barrier<RIGHT, 16>, "32 threads wait at mbarriers");
  test_abort("arrivals", use_barrier<TOO_FEW_ARRIVALS>, "32 threads wait at mbarriers");
  test_abort("arrivals", use_barrier<TOO_MANY_ARRIVALS>, "more arrivals than its 2");
  test_abort("initialisation", use_barrier<NOT_INITIALISED>, "was not initialised");
  test_abort("initialisation", use_barrier<INITIALISED_TWICE>, "is initialised twice");
  test_abort("fence", use_barrier<NOT_PUBLISHED>, "no fence makes it known");
  test_abort("alignment", use_barrier<MISALIGNED_BOX>, "is not an aligned place of 8192 bytes");
  test_abort("map", copy_by_no_map, "is no tensor map");
  test_abort("commit", multiply<NO_COMMIT>, "products of a warpgroup were under way");
  test_abort("wait", multiply<NO_WAIT_FOR_PRODUCT>, "products of a warpgroup were under way");
  test_abort("fence", multiply<NO_FENCE>, "no wgmma.fence since");
  test_abort("descriptor", multiply<PLAIN_DESCRIPTOR>, "not swizzled by 128 bytes");
  test_abort("descriptor", multiply<MISALIGNED_FACTOR>, "does not begin where its swizzle does");
  test_abort("half", multiply<HALF_A_WARPGROUP>, "64 for the rest of their warpgroup");
  test_abort("different", multiply<DIFFERENT_PRODUCTS>, "ask for different products");
  test_abort("no wait for copies", leave_copy_under_way, "copies of boxes were under way");
}

}  // namespace

void test_hopper(bool on_gpu) {
  test_tensor_map_arguments();
  for (const char* order : {"forward", "reverse"}) {
    setenv("OSTRO_FAKE_CUDA_ORDER", order, 1);
    test_box(swizzle_128, 64, 0, 0, false);
    test_box(swizzle_128, 64, 64, 5, false);
    test_box(swizzle_128, 64, -3, -9, false);
    test_box(swizzle_128, 64, 70, 60, true);
    test_box(2, 32, 16, 9, false);
    test_box(1, 16, 16, 9, false);
    test_box(0, 64, 16, 9, false);
    for (unsigned width : {128u, 256u})
      for (bool from_start : {false, true}) test_product(width, from_start);
    if (on_gpu) return;
    test_races(!strcmp(order, "forward"));
  }
  setenv("OSTRO_FAKE_CUDA_ORDER", "forward", 1);
  test_broken();
}
