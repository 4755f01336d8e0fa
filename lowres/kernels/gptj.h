/* What stands between the products of a GPT-J layer, token by token; float32.
 *
 * Tokens of several texts stand one behind the other: token t is at places[t] of text rows[t]. keys, values: (texts,
 * heads, room, size), of one layer. A token's result depends on its own text alone, and not on the threads. */
#define AHEAD 64 /* keys that are looked at together */
#define WIDTH 16 /* sums that a product of two vectors is gathered in */

/* out = x, its first 2 * pairs numbers turned pair by pair. */
static inline void turned(float *out, const float *x, const float *sin, const float *cos, int64_t pairs, int64_t size) {
  for (int64_t i = 0; i < pairs; i++) {
    const float even = x[2 * i], odd = x[2 * i + 1];
    out[2 * i] = even * cos[i] - odd * sin[i];
    out[2 * i + 1] = odd * cos[i] + even * sin[i];
  }
  if (out != x) memcpy(out + 2 * pairs, x + 2 * pairs, (size - 2 * pairs) * sizeof(float));
}

static inline float dot(const float *a, const float *b, int64_t n) {
  float sums[WIDTH] = {0}, total = 0;
  int64_t i = 0;
  for (; i + WIDTH <= n; i += WIDTH)
    for (int j = 0; j < WIDTH; j++) sums[j] += a[i + j] * b[i + j];
  for (; i < n; i++) sums[0] += a[i] * b[i];
  for (int j = 0; j < WIDTH; j++) total += sums[j];
  return total;
}

/* Turns the queries where they stand, and writes keys and values to the cache. q, k, v: (tokens, heads, size); sin, cos:
 * (tokens, pairs). */
void gptj_remember(float *q, const float *k, const float *v, const float *sin, const float *cos, float *keys,
                   float *values, const int64_t *rows, const int64_t *places, int64_t tokens, int64_t heads,
                   int64_t size, int64_t pairs, int64_t room) {
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      const int64_t from = (t * heads + h) * size, to = ((rows[t] * heads + h) * room + places[t]) * size;
      turned(q + from, q + from, sin + t * pairs, cos + t * pairs, pairs, size);
      turned(keys + to, k + from, sin + t * pairs, cos + t * pairs, pairs, size);
      memcpy(values + to, v + from, size * sizeof(float));
    }
}

/* Softmax attention of a token's heads to its text up to itself, a stretch of keys at a time: what was gathered is
 * scaled down whenever a greater score is met. out: (tokens, heads, size). first, last: of the heads of all tokens. */
void gptj_attend(const float *q, const float *keys, const float *values, float *out, const int64_t *rows,
                 const int64_t *places, int64_t heads, int64_t size, int64_t room, int64_t first, int64_t last) {
  const float scale = 1 / sqrtf((float)size);
  for (int64_t i = first; i < last; i++) {
    const int64_t t = i / heads, begin = (rows[t] * heads + i % heads) * room * size, length = places[t] + 1;
    float *gathered = out + i * size, greatest = -INFINITY, sum = 0;
    memset(gathered, 0, size * sizeof(float));
    for (int64_t start = 0; start < length; start += AHEAD) {
      const int64_t count = length - start < AHEAD ? length - start : AHEAD;
      const float *key = keys + begin + start * size, *value = values + begin + start * size;
      float scores[AHEAD], top = greatest;
      for (int64_t j = 0; j < count; j++) {
        scores[j] = dot(q + i * size, key + j * size, size) * scale;
        top = scores[j] > top ? scores[j] : top;
      }
      const float shrink = exp_float(greatest - top);
      for (int64_t d = 0; d < size; d++) gathered[d] *= shrink;
      sum *= shrink;
      greatest = top;
      SIMD
      for (int64_t j = 0; j < count; j++) scores[j] = exp_float(scores[j] - top);
      for (int64_t j = 0; j < count; j++) {
        sum += scores[j];
        for (int64_t d = 0; d < size; d++) gathered[d] += scores[j] * value[j * size + d];
      }
    }
    for (int64_t d = 0; d < size; d++) gathered[d] /= sum;
  }
}

/* gelu_new of x + bias, in place. x: (rows, n). */
void gptj_gelu(float *x, const float *bias, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r++, x += n) {
    SIMD
    for (int64_t i = 0; i < n; i++) {
      const float y = x[i] + bias[i], inner = 0.7978845608f * (y + 0.044715f * y * y * y);
      x[i] = .5f * y * (1 + TANH(inner));
    }
  }
}
#undef AHEAD
#undef WIDTH
