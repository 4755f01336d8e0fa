/* In how many pages each shingle stands, to four and no further. counts: half a byte a place of a table, so that the
 * processor holds what it knows of eight million places' memory pages. A page's places are each given once. */
#define OF(place) (((place) & 1) * 4)

/* Counts `n` places. */
void shingles_count(uint8_t *counts, const uint32_t *places, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint8_t *two = counts + (places[i] >> 1);
    const int at = OF(places[i]), four = *two >> at & 4;
    *two += !four << at;
  }
}

/* common[p]: how many of the next lengths[p] places stand in four pages or more. */
void shingles_common(const uint8_t *counts, const uint32_t *places, const int64_t *lengths, int64_t *common,
                     int64_t pages) {
  for (int64_t p = 0; p < pages; places += lengths[p++]) {
    int64_t found = 0;
    for (int64_t i = 0; i < lengths[p]; i++) found += counts[places[i] >> 1] >> OF(places[i]) >> 2 & 1;
    common[p] = found;
  }
}
#undef OF
