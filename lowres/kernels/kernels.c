/* Every kernel for every kind of numbers; see arithmetic.h. Built by build.py. */
#include "arithmetic.h"
#include "shingles.h"

static inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static inline uint64_t bits_of_double(double x) {
  uint64_t bits;
  memcpy(&bits, &x, 8);
  return bits;
}

#define EXP exp_float
#define LOG logf
#define WIDE float

#define KIND float32
#define REAL float
#define WIDEN same_float
#define NARROW same_float
#define BITS bits_of_float
#include "lstm.h"
#include "qrnn.h"
#include "softmax.h"
#include "weight_drop.h"
#include "int8.h"
#include "gptj.h"
#define CODE int8_t
#define OF_CODES(function) function##_int8
#include "lanes.h"
#undef CODE
#undef OF_CODES
#define CODE float
#define OF_CODES(function) function##_float32
#include "lanes.h"
#undef CODE
#undef OF_CODES
#undef KIND
#undef REAL
#undef WIDEN
#undef NARROW
#undef BITS

#define KIND bfloat16
#define REAL bfloat16
#define WIDEN float_of
#define NARROW bfloat16_of
#define BITS(x) (x)
#include "lstm.h"
#include "qrnn.h"
#include "softmax.h"
#include "weight_drop.h"
#undef KIND
#undef REAL
#undef WIDEN
#undef NARROW
#undef BITS

#undef EXP
#undef LOG
#undef WIDE
#define EXP exp
#define LOG log
#define WIDE double

#define KIND float64
#define REAL double
#define WIDEN same_double
#define NARROW same_double
#define BITS bits_of_double
#include "lstm.h"
#include "qrnn.h"
#include "softmax.h"
#include "weight_drop.h"
