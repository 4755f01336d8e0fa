/* Rows of float32 times a matrix of 8 bits that has a scale for every `block` inputs of an output:
 *
 *   out[r][n] = sum over blocks b of scale[b][n] * (sum over k in b of x[r][k] * code[k][n])
 *
 * codes: (outputs / 64, inputs, 64) int8, scales: (outputs / 64, inputs / block, 64), so that both are read from front to
 * back once for every four rows; `outputs` is padded to a multiple of 64 there, and is the width of `out`. One row is bound by memory: the
 * numbers of a byte are widened in registers. A row's result depends neither on the other rows nor on the number of
 * threads. */
#define TOGETHER 64 /* outputs that are worked at together */
#define AT_ONCE 4   /* rows likewise */

/* `count` rows times one block of inputs, added to sums; count is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void one_block(const float *x, int64_t inputs, const int8_t *codes, const float *scales, int64_t block,
                                                            int count, float sums[AT_ONCE][TOGETHER]) {
  float products[AT_ONCE][TOGETHER] = {{0}};
  for (int64_t k = 0; k < block; k++)
    for (int r = 0; r < count; r++) {
      const float value = x[r * inputs + k];
      SIMD
      for (int n = 0; n < TOGETHER; n++) products[r][n] += value * (float)codes[k * TOGETHER + n];
    }
  for (int r = 0; r < count; r++) {
    SIMD
    for (int n = 0; n < TOGETHER; n++) sums[r][n] += products[r][n] * scales[n];
  }
}

static inline __attribute__((always_inline)) void some_rows(const float *x, const int8_t *codes, const float *scales, float *out, int64_t inputs,
                                                            int64_t outputs, int64_t block, int64_t columns, int count) {
  float sums[AT_ONCE][TOGETHER] = {{0}};
  for (int64_t k = 0; k < inputs; k += block, scales += TOGETHER)
    one_block(x + k, inputs, codes + k * TOGETHER, scales, block, count, sums);
  for (int r = 0; r < count; r++) memcpy(out + r * outputs, sums[r], columns * sizeof(float));
}

void int8_blocks_product(const float *x, const int8_t *codes, const float *scales, float *out, int64_t rows, int64_t inputs,
                         int64_t outputs, int64_t block, int64_t threads) {
  const int64_t groups = (outputs + TOGETHER - 1) / TOGETHER;
  PRAGMA(omp parallel for num_threads((int)threads) schedule(dynamic) if (threads > 1))
  for (int64_t g = 0; g < groups; g++) {
    const int8_t *of_group = codes + g * inputs * TOGETHER;
    const float *its_scales = scales + g * (inputs / block) * TOGETHER;
    const int64_t first = g * TOGETHER, columns = outputs - first < TOGETHER ? outputs - first : TOGETHER;
    for (int64_t r = 0; r < rows;) {
      const int64_t count = rows - r < AT_ONCE ? 1 : AT_ONCE;
      if (count == 1)
        some_rows(x + r * inputs, of_group, its_scales, out + r * outputs + first, inputs, outputs, block, columns, 1);
      else
        some_rows(x + r * inputs, of_group, its_scales, out + r * outputs + first, inputs, outputs, block, columns, AT_ONCE);
      r += count;
    }
  }
}
