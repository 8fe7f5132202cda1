// What the compiler's checks of kernels.cpp call (-fsanitize=alignment,bounds,shift-exponent,signed-integer-overflow,
// without its library): stops with the place in the kernel. A GPU fails on misaligned accesses, and goes wrong silently on
// the others.
#include "fibre.h"

namespace {

struct Place {  // common beginning of the descriptions that the compiler hands over
  const char* file;
  unsigned line, column;
};
struct TypeMismatch {
  Place place;
  const void* type;
  unsigned char alignment_log;
  unsigned char kind;
};

using emulator::fail;

[[noreturn]] void fail_overflow(const Place* place, const char* sign, uintptr_t left, uintptr_t right) {
  fail("%s:%u:%u: %td %s %td overflows", place->file, place->line, place->column, ptrdiff_t(left), sign,
       ptrdiff_t(right));
}

}  // namespace

extern "C" [[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const TypeMismatch* check, void* pointer) {
  fail("%s:%u:%u: address %p is not aligned to %u bytes", check->place.file, check->place.line, check->place.column,
       pointer, 1u << check->alignment_log);
}

extern "C" [[noreturn]] void __ubsan_handle_out_of_bounds_abort(const Place* place, uintptr_t index) {
  fail("%s:%u:%u: index %td is outside the array", place->file, place->line, place->column, ptrdiff_t(index));
}

extern "C" [[noreturn]] void __ubsan_handle_shift_out_of_bounds_abort(const Place* place, uintptr_t, uintptr_t bits) {
  fail("%s:%u:%u: shift by %td bits", place->file, place->line, place->column, ptrdiff_t(bits));
}

extern "C" [[noreturn]] void __ubsan_handle_add_overflow_abort(const Place* place, uintptr_t left, uintptr_t right) {
  fail_overflow(place, "+", left, right);
}

extern "C" [[noreturn]] void __ubsan_handle_sub_overflow_abort(const Place* place, uintptr_t left, uintptr_t right) {
  fail_overflow(place, "-", left, right);
}

extern "C" [[noreturn]] void __ubsan_handle_mul_overflow_abort(const Place* place, uintptr_t left, uintptr_t right) {
  fail_overflow(place, "*", left, right);
}

extern "C" [[noreturn]] void __ubsan_handle_divrem_overflow_abort(const Place* place, uintptr_t left, uintptr_t right) {
  fail_overflow(place, "/", left, right);
}

extern "C" [[noreturn]] void __ubsan_handle_negate_overflow_abort(const Place* place, uintptr_t right) {
  fail_overflow(place, "-", 0, right);
}
