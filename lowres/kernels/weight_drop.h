/* Weight dropout (Merity et al. 2018): out = weight * scale where draw >= threshold, else 0; rounded to REAL.
 *
 * A dropped weight is written as -0 and a kept one never is, so that the backward pass needs no mask. */
void NAME(drop_weights)(const WIDE *weight, const int16_t *draws, REAL *out, int64_t size, int64_t threshold,
                        double scale, int64_t threads) {
  const WIDE factor = (WIDE)scale;
  const int32_t least = (int32_t)threshold;
  const REAL dropped = NARROW((WIDE)-0.0);
  PARALLEL(threads)
  for (int64_t share = 0; share < threads; share++) {
    SIMD
    for (int64_t i = size * share / threads; i < size * (share + 1) / threads; i++) {
      const REAL kept = NARROW(weight[i] * factor);
      out[i] = draws[i] >= least ? (BITS(kept) == BITS(dropped) ? (REAL)0 : kept) : dropped;
    }
  }
}

/* d_weight = d * scale where the weight was kept, else 0. */
void NAME(drop_gradient)(const REAL *dropped, const REAL *d, WIDE *d_weight, int64_t size, double scale,
                         int64_t threads) {
  const WIDE factor = (WIDE)scale;
  const REAL mark = NARROW((WIDE)-0.0);
  PARALLEL(threads)
  for (int64_t share = 0; share < threads; share++) {
    SIMD
    for (int64_t i = size * share / threads; i < size * (share + 1) / threads; i++)
      d_weight[i] = BITS(dropped[i]) == BITS(mark) ? 0 : WIDEN(d[i]) * factor;
  }
}
