/* What the kernels compute with. Every kernel is written once and compiled for three kinds of numbers:
 *
 *   KIND       REAL (in memory)     WIDE (in registers, and the recurrent state)
 *   float32    float                float
 *   bfloat16   uint16_t             float
 *   float64    double               double     for tests against a loop
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16;

static inline float float_of(bfloat16 x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/* To the nearest, ties to even, as torch rounds. */
static inline bfloat16 bfloat16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits += 0x7fff + ((bits >> 16) & 1);
  return x == x ? (bfloat16)(bits >> 16) : 0x7fc0;
}

static inline float same_float(float x) { return x; }
static inline double same_double(double x) { return x; }

/* exp(x) to 2 units in the last place: x = n ln 2 + r, a polynomial in r (Cephes), times 2^n. Beyond +-87 it stays
 * at e^+-87, which no sigmoid tells from infinity or 0. NaN stays NaN. */
static inline float exp_float(float x) {
  x = x > 87.f ? 87.f : x;
  x = x < -87.f ? -87.f : x;
  float n = x * 1.44269504088896341f;
  n = (n + 12582912.f) - 12582912.f; /* rounds: 1.5 * 2^23 leaves no bits for a fraction */
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  const uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
  float power;
  memcpy(&power, &bits, 4);
  return p * power;
}

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(kernel) JOIN(kernel, KIND)

#define SIGMOID(x) (1 / (1 + EXP(-(x))))
#define TANH(x) (2 * SIGMOID(2 * (x)) - 1) /* absolute error of an ulp of 1 */

#define PARALLEL(threads) PRAGMA(omp parallel for num_threads((int)(threads)) schedule(static) if ((threads) > 1))
#define SIMD PRAGMA(omp simd)
#define PRAGMA(text) PRAGMA_(text)
#define PRAGMA_(text) _Pragma(#text)
