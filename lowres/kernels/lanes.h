/* Rows of float32 times a matrix of CODEs, `block` inputs of an output with a scale of their own, or none (NULL):
 *
 *   out[r][n] = sum over blocks b of scale[b][n] * (sum over k in b of x[r][k] * code[k][n])
 *
 * codes: (outputs / 64, inputs, 64); scales: (outputs / 64, inputs / block, 64); outputs are padded there, not in `out`.
 * Both are read from front to back, once for every four rows: one row is bound by memory. Codes are widened in
 * registers. A row's result depends neither on the other rows nor on the threads. */
#define TOGETHER 64 /* outputs that are worked at together */
#define AT_ONCE 4   /* rows likewise */
#define INLINE static inline __attribute__((always_inline))

/* `count` rows times one block of inputs, added to sums; count is a constant wherever this is inlined. */
INLINE void OF_CODES(one_block)(const float *x, int64_t inputs, const CODE *codes, const float *scales, int64_t block,
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
    for (int n = 0; n < TOGETHER; n++) sums[r][n] += scales ? products[r][n] * scales[n] : products[r][n];
  }
}

INLINE void OF_CODES(some_rows)(const float *x, const CODE *codes, const float *scales, float *out, int64_t inputs,
                                int64_t outputs, int64_t block, int64_t columns, int count) {
  float sums[AT_ONCE][TOGETHER] = {{0}};
  for (int64_t k = 0; k < inputs; k += block, scales += scales ? TOGETHER : 0)
    OF_CODES(one_block)(x + k, inputs, codes + k * TOGETHER, scales, block, count, sums);
  for (int r = 0; r < count; r++) memcpy(out + r * outputs, sums[r], columns * sizeof(float));
}

/* The 64s of outputs from `first` up to `last`, in the thread that calls: threads take runs of them in turn. */
void OF_CODES(lanes_product)(const float *x, const CODE *codes, const float *scales, float *out, int64_t rows,
                             int64_t inputs, int64_t outputs, int64_t block, int64_t first, int64_t last) {
  const int64_t step = scales ? inputs / block * TOGETHER : 0;
  codes += first * inputs * TOGETHER;
  scales += first * step;
  for (int64_t g = first; g < last; g++, codes += inputs * TOGETHER, scales += step) {
    const int64_t start = g * TOGETHER, columns = outputs - start < TOGETHER ? outputs - start : TOGETHER;
    for (int64_t r = 0, count; r < rows; r += count) {
      count = rows - r < AT_ONCE ? 1 : AT_ONCE;
      const float *given = x + r * inputs;
      float *to = out + r * outputs + start;
      if (count == 1)
        OF_CODES(some_rows)(given, codes, scales, to, inputs, outputs, block, columns, 1);
      else
        OF_CODES(some_rows)(given, codes, scales, to, inputs, outputs, block, columns, AT_ONCE);
    }
  }
}
#undef TOGETHER
#undef AT_ONCE
#undef INLINE
