/* Cross-entropy of rows of scores, and its gradient in place:
 *
 *   nll = -log softmax(scores)[target]     scores <- softmax(scores) - onehot(target)
 *
 * scores: (rows, vocabulary); d_bias: (ceil(rows / ROWS_OF_A_SUM), vocabulary), zero at first, gets the sums of the
 * gradient over groups of rows before it is rounded; a group is one thread's, so that the sums do not depend on the
 * number of threads. A score that is not finite makes its row's nll NaN or infinite. */
#define ROWS_OF_A_SUM 64

void NAME(softmax_errors)(REAL *scores, const int64_t *targets, WIDE *nll, WIDE *d_bias, int64_t rows,
                          int64_t vocabulary, int64_t threads) {
  const int64_t groups = (rows + ROWS_OF_A_SUM - 1) / ROWS_OF_A_SUM;
  PARALLEL(threads)
  for (int64_t group = 0; group < groups; group++) {
    WIDE *bias = d_bias + group * vocabulary;
    const int64_t end = (group + 1) * ROWS_OF_A_SUM < rows ? (group + 1) * ROWS_OF_A_SUM : rows;
    for (int64_t row = group * ROWS_OF_A_SUM; row < end; row++) {
      REAL *score = scores + row * vocabulary;
      const int64_t target = targets[row];
      const WIDE wanted = WIDEN(score[target]);
      WIDE most = WIDEN(score[0]), total = 0;
      PRAGMA(omp simd reduction(max : most))
      for (int64_t j = 0; j < vocabulary; j++) {
        const WIDE x = WIDEN(score[j]);
        most = x > most ? x : most;
      }
      PRAGMA(omp simd reduction(+ : total))
      for (int64_t j = 0; j < vocabulary; j++) total += EXP(WIDEN(score[j]) - most);
      nll[row] = LOG(total) + most - wanted;
      const WIDE scale = 1 / total;
      const WIDE error = EXP(wanted - most) * scale - 1;
      bias[target] -= 1;
      SIMD
      for (int64_t j = 0; j < vocabulary; j++) {
        const WIDE share = EXP(WIDEN(score[j]) - most) * scale;
        bias[j] += share;
        score[j] = NARROW(share);
      }
      score[target] = NARROW(error);
    }
  }
}
