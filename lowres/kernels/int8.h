/* Rows of float32 times an 8-bit matrix, on processors that add up products of four bytes at once (AVX-512 VNNI):
 *
 *   size[r] = max |x[r]| / 127     rounded[r] = round(x[r] / size[r])     out[r] = bias + (rounded[r] . weight) scale size[r]
 *
 * The sums of bytes are exact, so a row's result depends neither on the other rows nor on the number of threads.
 * packed: the matrix (width, columns) as int8 (width / 64, columns / 4, 64, 4), zeros where a size is no multiple.
 * The instruction takes unsigned numbers on one side: 128 is added to them, and `sums`, 128 times the sum of each row
 * of the matrix, is taken off again. rounded: (rows, columns to a multiple of 4); sizes: (rows,). */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define LANES 64 /* columns of `out` that are worked at together: four registers of sixteen sums */
#define SIDE_BY_SIDE 4

int64_t int8_product_runs_here(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
}

static void round_row(const float *x, int64_t columns, int64_t padded, uint8_t *rounded, float *size) {
  float most = 0;
  PRAGMA(omp simd reduction(max : most))
  for (int64_t k = 0; k < columns; k++) {
    const float magnitude = x[k] < 0 ? -x[k] : x[k];
    most = magnitude > most ? magnitude : most;
  }
  most /= 127;
  most = most < 1.17549435e-38f ? 1.17549435e-38f : most;
  SIMD
  for (int64_t k = 0; k < columns; k++) rounded[k] = (uint8_t)((int32_t)rintf(x[k] / most) + 128);
  for (int64_t k = columns; k < padded; k++) rounded[k] = 128;
  *size = most;
}

/* The sums of `count` rows with LANES columns; count is a constant wherever this is inlined. */
VNNI static inline __attribute__((always_inline)) void some_sums(const uint8_t *rounded, const int8_t *weight,
                                                                 int64_t padded, int count,
                                                                 int32_t sums[SIDE_BY_SIDE][LANES]) {
  __m512i total[SIDE_BY_SIDE][LANES / 16];
  for (int r = 0; r < count; r++)
    for (int n = 0; n < LANES / 16; n++) total[r][n] = _mm512_setzero_si512();
  for (int64_t k = 0; k < padded; k += 4, weight += 4 * LANES) {
    __m512i four[LANES / 16];
    for (int n = 0; n < LANES / 16; n++) four[n] = _mm512_loadu_si512(weight + 64 * n);
    for (int r = 0; r < count; r++) {
      int32_t bytes;
      memcpy(&bytes, rounded + r * padded + k, 4);
      const __m512i given = _mm512_set1_epi32(bytes);
      for (int n = 0; n < LANES / 16; n++) total[r][n] = _mm512_dpbusd_epi32(total[r][n], given, four[n]);
    }
  }
  for (int r = 0; r < count; r++)
    for (int n = 0; n < LANES / 16; n++) _mm512_storeu_si512(sums[r] + 16 * n, total[r][n]);
}

VNNI static void some_columns(const uint8_t *rounded, const float *sizes, const int8_t *weight, const int32_t *offsets,
                              const float *scale, const float *bias, float *out, int64_t rows, int64_t padded,
                              int64_t width, int64_t first) {
  const int64_t columns = width - first < LANES ? width - first : LANES;
  int32_t sums[SIDE_BY_SIDE][LANES];
  for (int64_t row = 0, count; row < rows; row += count) {
    count = rows - row < SIDE_BY_SIDE ? 1 : SIDE_BY_SIDE;
    if (count == 1)
      some_sums(rounded + row * padded, weight, padded, 1, sums);
    else
      some_sums(rounded + row * padded, weight, padded, SIDE_BY_SIDE, sums);
    for (int64_t r = 0; r < count; r++) {
      float *to = out + (row + r) * width + first;
      const float size = sizes[row + r];
      SIMD
      for (int64_t n = 0; n < columns; n++) {
        const float product = (float)(sums[r][n] - offsets[first + n]) * scale[first + n];
        to[n] = product * size + (bias ? bias[first + n] : 0.f);
      }
    }
  }
}

void int8_product(const float *x, const int8_t *packed, const int32_t *offsets, const float *scale, const float *bias,
                  uint8_t *rounded, float *sizes, float *out, int64_t rows, int64_t columns, int64_t width,
                  int64_t threads) {
  const int64_t padded = (columns + 3) / 4 * 4, blocks = (width + LANES - 1) / LANES;
  for (int64_t r = 0; r < rows; r++) round_row(x + r * columns, columns, padded, rounded + r * padded, sizes + r);
  PARALLEL(threads)
  for (int64_t b = 0; b < blocks; b++)
    some_columns(rounded, sizes, packed + b * LANES * padded, offsets, scale, bias, out, rows, padded, width, b * LANES);
}

/* An LSTM layer behind its input product; see lstm.h. packed to sizes are int8_product's, of the recurrent matrix; gates: (time, batch, 4 hidden), overwritten; h: (batch, hidden), read; c: (batch, hidden), overwritten with the
 * last one; recurrent: (batch, 4 hidden), of no use afterwards; out: (time, batch, hidden). */
void int8_lstm(const float *h, const int8_t *packed, const int32_t *offsets, const float *scale, uint8_t *rounded,
               float *sizes, float *recurrent, float *gates, float *c, float *out, int64_t time, int64_t batch,
               int64_t hidden, int64_t threads) {
  for (int64_t t = 0; t < time; t++, gates += 4 * batch * hidden, out += batch * hidden) {
    int8_product(h, packed, offsets, scale, 0, rounded, sizes, recurrent, batch, hidden, 4 * hidden, threads);
    lstm_forward_float32(gates, recurrent, c, c, out, batch, hidden, threads);
    h = out;
  }
}
#else
int64_t int8_product_runs_here(void) { return 0; }
void int8_product(const float *x, const int8_t *packed, const int32_t *offsets, const float *scale, const float *bias,
                  uint8_t *rounded, float *sizes, float *out, int64_t rows, int64_t columns, int64_t width,
                  int64_t threads) {}
void int8_lstm(const float *h, const int8_t *packed, const int32_t *offsets, const float *scale, uint8_t *rounded,
               float *sizes, float *recurrent, float *gates, float *c, float *out, int64_t time, int64_t batch,
               int64_t hidden, int64_t threads) {}
#endif
