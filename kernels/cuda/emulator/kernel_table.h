// The table of kernels that modules.cpp looks names up in; kernels.cpp fills it. Apart from driver.h so that names of
// the driver and of kernels do not meet.
#pragma once
#include "fibre.h"

namespace emulator {

struct Kernel {
  const char* name;
  Entry entry;
  size_t argument_bytes;
};
extern const Kernel kernels[];  // ends with a null name

}  // namespace emulator
