/* Scores of additive attention, v · tanh(q + k) for every query and key of a sequence, and their gradients. The tanh of
   all of them would be the largest array of a step of training; it is computed once more instead, and never stored. */

/* What Python passes, one word per field. */
typedef struct {
    int64_t sequences, queries, keys, size, threads;
    OpenMP omp;
    const T *query, *key, *weight;          /* [B, Q, A], [B, K, A], [A] */
    T *scores;                              /* [B, Q, K]; backward: their gradients */
    T *grad_query, *grad_key, *grad_weight; /* backward: [B, Q, A], [B, K, A], [B, A], the last to be summed up */
} Attention;

/* Some of the sequences. */
typedef struct {
    const Attention *all;
    int64_t from, to;
} Part;

INLINE int lanes_at(int64_t j, int64_t size) { return (int)at_most(L, size - j); }

static void score(void *pointer) {
    const Part *part = pointer;
    const Attention *a = part->all;
    const int64_t size = a->size;
    const T *query = a->query + part->from * a->queries * size;
    T *scores = a->scores + part->from * a->queries * a->keys;
    for (int64_t b = part->from; b < part->to; b++)
        for (int64_t t = 0; t < a->queries; t++, query += size) {
            const T *key = a->key + b * a->keys * size;
            for (int64_t s = 0; s < a->keys; s++, key += size) {
                V sum = {0};
                for (int64_t j = 0; j < size; j += L) {
                    int n = lanes_at(j, size);
                    sum += gw_load(a->weight + j, n) * gw_tanh(gw_load(query + j, n) + gw_load(key + j, n));
                }
                *scores++ = gw_sum(sum)[0];
            }
        }
}

/* With h = tanh(q + k), the gradient of a score is h by v, and v (1 - h²) by q and by k. */
static void score_back(void *pointer) {
    const Part *part = pointer;
    const Attention *a = part->all;
    const int64_t size = a->size, queries = a->queries, keys = a->keys;
    for (int64_t b = part->from; b < part->to; b++) {
        const T *query = a->query + b * queries * size, *key = a->key + b * keys * size;
        const T *above = a->scores + b * queries * keys;
        T *grad_query = a->grad_query + b * queries * size, *grad_key = a->grad_key + b * keys * size;
        T *grad_weight = a->grad_weight + b * size;
        memset(grad_key, 0, sizeof(T) * (size_t)(keys * size));
        for (int64_t j = 0; j < size; j += L) {
            const int n = lanes_at(j, size);
            const V v = gw_load(a->weight + j, n);
            V of_weight = {0};
            for (int64_t t = 0; t < queries; t++) {
                const V q = gw_load(query + t * size + j, n);
                V of_query = {0};
                for (int64_t s = 0; s < keys; s++) {
                    V h = gw_tanh(q + gw_load(key + s * size + j, n)), slope = above[t * keys + s] * h;
                    T *of_key = grad_key + s * size + j;
                    of_weight += slope;
                    slope = above[t * keys + s] - slope * h;
                    of_query += slope;
                    gw_store(of_key, gw_load(of_key, n) + slope, n);
                }
                gw_store(grad_query + t * size + j, of_query * v, n);
            }
            gw_store(grad_weight + j, of_weight, n);
            for (int64_t s = 0; s < keys; s++) {
                T *of_key = grad_key + s * size + j;
                gw_store(of_key, gw_load(of_key, n) * v, n);
            }
        }
    }
}

static void on_threads(const Attention *a, void (*run)(void *)) {
    Part parts[MAX_THREADS];
    /* As many for each thread that none waits for long for the last one. */
    const int64_t count = a->threads > 1 ? at_most(a->sequences, MAX_THREADS) : 1;
    for (int64_t k = 0; k < count; k++)
        parts[k] = (Part){a, a->sequences * k / count, a->sequences * (k + 1) / count};
    run_pieces(&a->omp, a->threads, run, parts, sizeof *parts, (int)count);
}

void gw_score(const Attention *a) { on_threads(a, score); }
void gw_score_back(const Attention *a) { on_threads(a, score_back); }
