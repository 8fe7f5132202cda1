// Tests of the emulator: runs the kernels of self_test.cu through the fake driver and compares with plain loops.
// Prints "N passed, 0 failed". Built and run by build.sh OUT_DIR --test. With an argument, the path of self_test.cu
// compiled by nvcc -cubin, it asks the real driver the same, to see that the emulator is right. With "hopper" before it
// the same for self_test_hopper.cu.
#include "self_test.h"
#include "self_test_numbers.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>

int passed, failed;

namespace {

void* module;
void* stream;

void test_reduce(unsigned threads) {
  unsigned count = 777, blocks = 5;
  std::vector<float> input(count * blocks);
  for (float& value : input) value = float(random_bits() % 2048) - 1024;
  Buffer<float> device_input(input), output(blocks);
  check(launch("self_test_reduce", {device_input.pointer, 0, output.pointer, 0, count}, blocks, threads, 0, stream) == 0,
        "launch of self_test_reduce");
  std::vector<float> sums = output.read();
  for (unsigned block = 0; block < blocks; block++) {
    float expected = 0;
    for (unsigned i = 0; i < count; i++) expected += input[block * count + i];
    check(sums[block] == expected, "sum of block %u of %u threads: %g, not %g", block, threads, sums[block], expected);
  }
}

unsigned expected_of_warp(unsigned row, unsigned lane) {
  auto section = [lane](int source, unsigned width) { return source >= 0 && unsigned(source) / width == lane / width; };
  int down = int(lane) + 3, up = int(lane) - 3;
  unsigned ballot = 0, value = lane * 100, b = 0x07060504u + lane, reversed = 0;
  for (unsigned i = 0; i < 32; i += 3) ballot |= 1u << i;
  for (int i = 0; i < 8; i++) reversed |= (value >> i & 1) << (7 - i);
  switch (row) {
    case 0: return 500;
    case 1: return (lane + 1) % 32 * 100;
    case 2: return (lane ^ 9) * 100;
    case 3: return down < 32 ? unsigned(down) * 100 : value;
    case 4: return up >= 0 ? unsigned(up) * 100 : value;
    case 5: return (lane / 8 * 8 + 3) * 100;
    case 6: return section(down, 8) ? unsigned(down) * 100 : value;
    case 7: return section(up, 8) ? unsigned(up) * 100 : value;
    case 8: return (lane ^ 4) * 100;
    case 9: return ballot;
    case 10: return 2;
    case 11: return 0x82u | (b >> 8 & 255) << 8 | (b >> 16 & 255) << 16 | 0x81000000u;
    case 12: {
      int bytes[] = {3, 2, -2, -128}, sum = -5;
      for (int i = 0; i < 4; i++) sum += int((signed char)(value >> 8 * i)) * bytes[i];
      return unsigned((0x89abcdef00000000u | value) >> lane) ^ unsigned(sum);
    }
    case 13: return (lane < 16 ? lane ^ 1 : lane ^ 2) * 100;
    case 14: return 900 + 9;
    case 15:
      return unsigned(__builtin_popcount(value)) * 1000000 + (value ? unsigned(__builtin_clz(value)) : 32) * 1000 + reversed;
    case 16: return lane < 20 ? (lane ^ 1) * 100 : ~0u;
    // Nibbles 2, 5, e, 9: byte 2 of a, byte 1 of b, sign of byte 2 of b, sign of byte 1 of a.
    case 17: return 0x82u | (b >> 8 & 255) << 8 | 0xff000000u;
    case 18: return ((lane * 0x01010101u) & 0x3c3c3c3cu) | 0x55aa55aau;
    default: return 0;
  }
}

void test_warp(unsigned rows) {
  Buffer<unsigned> output(std::vector<unsigned>(rows * 32, ~0u));
  check(launch("self_test_warp", {0, 0, 0, output.pointer, 0}, 1, 32, 0, stream) == 0, "launch of self_test_warp");
  std::vector<unsigned> answers = output.read();
  for (unsigned row = 0; row < rows; row++)
    for (unsigned lane = 0; lane < 32; lane++) {
      unsigned expected = expected_of_warp(row, lane);
      check(answers[row * 32 + lane] == expected, "warp function %u, lane %u: %#x, not %#x", row, lane,
            answers[row * 32 + lane], expected);
    }
}

// 256 halves of A and 128 of B, and 128 floats to start with; sums must be exact in any order.
void test_product(const std::vector<unsigned short>& halves, const std::vector<float>& start) {
  std::vector<unsigned> words(halves.size() / 2);
  memcpy(words.data(), halves.data(), halves.size() * 2);
  Buffer<unsigned> device_words(words);
  Buffer<float> device_start(start), output(128);
  check(launch("self_test_mma", {device_start.pointer, device_words.pointer, output.pointer, 0, 0}, 1, 32, 0, stream) == 0,
        "launch of self_test_mma");
  std::vector<float> product = output.read();
  for (unsigned row = 0; row < 16; row++)
    for (unsigned column = 0; column < 8; column++) {
      double expected = start[row * 8 + column];
      for (unsigned k = 0; k < 16; k++) expected += half_value(halves[row * 16 + k]) * half_value(halves[256 + k * 8 + column]);
      check(product[row * 8 + column] == expected, "product (%u, %u): %g, not %g", row, column, product[row * 8 + column],
            expected);
    }
}

void test_mma() {
  std::vector<unsigned short> halves(256 + 128);
  std::vector<float> start(128);
  for (auto& half : halves) half = (unsigned short)nearest(int(random_bits() % 65) - 32, 10, 15);
  for (float& value : start) value = float(random_bits() % 100);
  test_product(halves, start);
  // Any finite halves, subnormal ones too, times the identity: A first, then B.
  for (unsigned round = 0; round < 64; round++) {
    bool of_a = round % 2;
    for (unsigned i = 0; i < 384; i++) {
      bool is_identity = (i < 256) != of_a;
      unsigned row = i < 256 ? i / 16 : (i - 256) / 8, column = i < 256 ? i % 16 : i % 8;
      unsigned finite = random_bits() % (round < 8 ? 0x400 : 0x7c00) | (random_bits() & 0x8000);
      halves[i] = (unsigned short)(is_identity ? (row == column ? 0x3c00 : 0) : finite);
    }
    test_product(halves, std::vector<float>(128, 0.f));
  }
}

void test_ldmatrix() {
  Buffer<unsigned> output(32 * 8);
  check(launch("self_test_ldmatrix", {0, 0, 0, output.pointer, 0}, 1, 32, 512, stream) == 0, "launch of self_test_ldmatrix");
  std::vector<unsigned> words = output.read();
  for (unsigned lane = 0; lane < 32; lane++)
    for (unsigned matrix = 0; matrix < 4; matrix++) {
      unsigned row = lane / 4, column = lane % 4 * 2;
      auto element = [matrix](unsigned r, unsigned c) { return matrix * 64 + r * 8 + c; };
      unsigned plain = element(row, column) | element(row, column + 1) << 16;
      unsigned transposed = element(column, row) | element(column + 1, row) << 16;
      check(words[lane * 8 + matrix] == plain, "ldmatrix, lane %u, matrix %u: %#x, not %#x", lane, matrix,
            words[lane * 8 + matrix], plain);
      check(words[lane * 8 + 4 + matrix] == transposed, "ldmatrix.trans, lane %u, matrix %u: %#x, not %#x", lane, matrix,
            words[lane * 8 + 4 + matrix], transposed);
    }
}

void test_half() {
  unsigned count = 65536;
  std::vector<unsigned> sources = floats_to_round(count);
  Buffer<unsigned> device_sources(sources), output_bits(count * 4);
  Buffer<float> output(count);
  check(launch("self_test_half", {0, device_sources.pointer, output.pointer, output_bits.pointer, count}, 256, 256, 0,
               stream) == 0, "launch of self_test_half");
  std::vector<float> floats = output.read();
  std::vector<unsigned> results = output_bits.read();
  for (unsigned i = 0; i < count; i++) {
    double value = half_value(i), mirror = half_value(count - 1 - i);
    check(std::isnan(value) ? std::isnan(floats[i]) : floats[i] == value && std::signbit(floats[i]) == std::signbit(value),
          "half %#x as float: %g, not %g", i, floats[i], value);
    double source = float_of(sources[i]);
    unsigned narrow = nearest(source, 10, 15);
    check(results[i * 4] == narrow, "float %#x as half: %#x, not %#x", sources[i], results[i * 4], narrow);
    unsigned bfloat = nearest(source, 7, 127);
    check(results[i * 4 + 1] == bfloat, "float %#x as bfloat: %#x, not %#x", sources[i], results[i * 4 + 1], bfloat);
    unsigned difference = nearest(value - mirror, 10, 15);
    check(results[i * 4 + 2] == difference, "half %#x - half %#x: %#x, not %#x", i, count - 1 - i, results[i * 4 + 2],
          difference);
    // In long double the fused sum is exact on x86-64 (64 bits) but for far exponents, where rounding is the same.
    long double exact = (long double)half_value(narrow) * mirror + mirror;
    long double back = (long double)(double)exact;
    if (exact != back) continue;
    unsigned fused = nearest(double(exact), 10, 15);
    check(results[i * 4 + 3] == fused, "fused half %#x * %#x + %#x: %#x, not %#x", narrow, count - 1 - i, count - 1 - i,
          results[i * 4 + 3], fused);
  }
}

void test_copy_async() {
  unsigned rounds = 5;
  std::vector<float> input(rounds * 128);
  for (float& value : input) value = float(random_bits() % 1000);
  Buffer<float> device_input(input), output(128);
  check(launch("self_test_copy_async", {device_input.pointer, 0, output.pointer, 0, rounds}, 1, 32, 0, stream) == 0,
        "launch of self_test_copy_async");
  std::vector<float> sums = output.read();
  for (unsigned i = 0; i < 128; i++) {
    float expected = 0;
    unsigned source = 127 - i;
    for (unsigned round = 0; round < rounds; round++) expected += source / 4 % 2 == 0 ? input[round * 128 + source] : 0;
    check(sums[i] == expected, "copied sum %u: %g, not %g", i, sums[i], expected);
  }
}

void test_grid() {
  Buffer<unsigned> counts(std::vector<unsigned>(4, 0));
  Buffer<float> halves(std::vector<float>(1, 0.f));
  SelfTestArgs arguments = {0, 0, halves.pointer, counts.pointer, 0};
  void* parameters[] = {&arguments};
  check(cuLaunchKernel(find_kernel("self_test_grid"), 3, 4, 2, 5, 3, 7, 0, stream, parameters, nullptr) == 0,
        "launch of self_test_grid");
  std::vector<unsigned> result = counts.read();
  unsigned threads = 24 * 105;
  check(result[0] == threads, "threads: %u, not %u", result[0], threads);
  check(result[1] == threads * (threads - 1) / 2, "sum of thread numbers: %u", result[1]);
  check(result[3] == 23, "blocks before the last: %u", result[3]);
  check(halves.read()[0] == float(threads) / 2, "float sum: %g", halves.read()[0]);
}

void test_uninitialized() {
  Buffer<float> output(std::vector<float>(192, 0.f));
  check(launch("self_test_uninitialized", {0, 0, output.pointer, 0, 0}, 3, 32, 128, stream) == 0, "launch");
  for (float value : output.read()) check(std::isnan(value), "unwritten shared memory reads %g, not NaN", value);
}

float race_result() {
  Buffer<float> output(64);
  launch("self_test_race", {0, 0, output.pointer, 0, 0}, 1, 64, 0, stream);
  return output.read()[63];
}

}  // namespace

void* find_kernel(const char* name) {
  void* function = nullptr;
  check(cuModuleGetFunction(&function, module, name) == 0, "kernel %s", name);
  return function;
}

int launch(const char* name, const SelfTestArgs& arguments, unsigned blocks, unsigned threads, unsigned shared_bytes,
           void* on_stream) {
  void* parameters[] = {const_cast<SelfTestArgs*>(&arguments)};
  return cuLaunchKernel(find_kernel(name), blocks, 1, 1, threads, 1, 1, shared_bytes, on_stream, parameters, nullptr);
}

std::pair<int, std::string> run_in_child(void (*body)()) {
  int ends[2];
  if (pipe(ends)) abort();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    close(ends[0]);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char chunk[512];
  for (ssize_t length; (length = read(ends[0], chunk, sizeof chunk)) > 0;) text.append(chunk, size_t(length));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), text};
}

void test_abort(const char* name, void (*body)(), const char* message) {
  auto result = run_in_child(body);
  check(result.first == 128 + SIGABRT, "%s: exit status %d, not an abort", name, result.first);
  check(result.second.find(message) != std::string::npos, "%s: message is \"%s\"", name, result.second.c_str());
}

namespace {

void test_ampere(bool on_gpu) {
  for (const char* order : {"forward", "reverse"}) {
    setenv("OSTRO_FAKE_CUDA_ORDER", order, 1);
    for (unsigned threads : {32u, 256u}) test_reduce(threads);
    test_warp(on_gpu ? 17 : 19);  // the last two are not in device.cuh
    test_mma();
    test_ldmatrix();
    test_half();
    test_copy_async();
    test_grid();
    if (on_gpu) break;
    test_uninitialized();
    bool is_right = race_result() == 62;
    check(is_right == !strcmp(order, "forward"), "a missing barrier must show in reverse order only");
  }
  setenv("OSTRO_FAKE_CUDA_ORDER", "forward", 1);
  if (!on_gpu) test_driver();
}

}  // namespace

int main(int count, char** arguments) {
  void* context;
  check(cuInit(0) == 0 && cuDevicePrimaryCtxRetain(&context, 0) == 0 && cuCtxSetCurrent(context) == 0, "context");
  bool on_hopper = count > 1 && !strcmp(arguments[1], "hopper");
  const char* code = count > 1 + on_hopper ? arguments[1 + on_hopper] : nullptr;
  // What the emulator reads of a module: how the memory of its kernels is aligned.
  const char* text = on_hopper ? ".extern .shared .align 1024 .b8 tiles[];" : "";
  check((code ? cuModuleLoad(&module, code) : cuModuleLoadData(&module, text)) == 0, "module");
  check(cuStreamCreate(&stream, 0) == 0, "stream");
  if (on_hopper) test_hopper(code != nullptr);
  else test_ampere(code != nullptr);
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
