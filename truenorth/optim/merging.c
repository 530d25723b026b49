/* Merged steps of float32 tensors on a CPU: what tensor_merge.py does, in one pass over what lies in memory.
   native.py calls it. Parts are worked on that fit a processor's nearest cache. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum {
    BLOCK = 1 << 18,  /* draws.BLOCK */
    LEVELS = 1 << 18, /* draws.LEVELS */
    PART = 1 << 14,   /* entries that a thread works on at a time, a share of a block */
    CHUNK = 1 << 10,  /* of these, entries whose temporaries are kept */
    FEW = 1 << 8,     /* the same where some entries are touched: memory is read while they are */
    PULLED = 2,       /* a flag: the task vector has an entry */
    EXPONENT = 0x7F800000,
};

enum { GIVEN, SINCE, ADAM, RMSPROP };

typedef struct {
    int32_t kind;
    float *first;          /* the movement | the weights, which go back | the mean of gradients | not read */
    float *second;         /* not read | the weights before | the mean of squares | the same */
    const float *gradient; /* not read | not read | of this step | the same */
    float numbers[6];
} Movement;

typedef struct {
    const int64_t *places; /* increasing, `first` too large */
    int64_t count, first;
    const float *values; /* at these places */
    float share;         /* what values are multiplied by */
} Some;

typedef struct { /* of weights [n], by the update at the places of `own`, then by the task vector at its own */
    Movement by;
    float *weights;
    int64_t n;
    Some own, task;
    const float *noise; /* of the task vector's entries */
} Few;

typedef struct {
    const float *around;   /* random numbers; NULL: there are none */
    const int64_t *starts; /* of each block, where its own begin */
} Circle;

typedef struct {
    float of_update, of_task;       /* what both are multiplied by */
    float update_votes, task_votes; /* the same where they elect a sign */
    float above;                    /* magnitude above which updates are kept */
    int32_t elects;
    int64_t until;                  /* an entry: of those before it, updates of just this magnitude are kept too */
} Rule;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t place_of(const Some *some, int64_t i) { return some->places[i] - some->first; }

/* The first of `some` that is not before `place`. */
static int64_t from(const Some *some, int64_t place) {
    int64_t low = 0, high = some->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (place_of(some, middle) < place) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* rounding.add of one entry. */
static inline float add(float weight, float by, float noise) {
    float toward = weight * noise + 0x1p-126f, step;
    int32_t inward, bits;
    memcpy(&inward, &toward, 4);
    memcpy(&bits, &weight, 4);
    bits = ((inward >> 31) + bits) & EXPONENT;
    memcpy(&step, &bits, 4);
    return weight + (by + step * noise * 0x1p-23f);
}

static inline float elected(const Rule *rule, float update, float task) {
    float vote = update * rule->update_votes + task * rule->task_votes;
    update *= rule->of_update;
    task *= rule->of_task;
    float up = (update > 0 ? update : 0) + (task > 0 ? task : 0);
    float down = (update < 0 ? update : 0) + (task < 0 ? task : 0);
    return vote >= 0 ? up : down;
}

static inline float by_adam(const float *numbers, float mean, float square) {
    return mean / (sqrtf(square) * numbers[3] + numbers[4]) * -numbers[5];
}

static inline float by_rmsprop(const float *numbers, float gradient, float square) {
    return gradient / (sqrtf(square) + numbers[2]) * -numbers[3];
}

/* Move the averages at [at, at + n). */
static void advance(const Movement *by, int64_t at, int64_t n) {
    float *restrict mean = by->first + at, *restrict square = by->second + at;
    const float *restrict g = by->gradient + at;
    const float a = by->numbers[0], b = by->numbers[1], c = by->numbers[2];
    if (by->kind == ADAM)
        for (int64_t i = 0; i < n; i++) {
            mean[i] += (g[i] - mean[i]) * a;
            square[i] = square[i] * b + g[i] * g[i] * c;
        }
    else
        for (int64_t i = 0; i < n; i++) square[i] = square[i] * a + g[i] * g[i] * b;
}

/* The movement of [at, at + n), computed once. */
static void all_of(const Movement *by, int64_t at, int64_t n, float *restrict to) {
    float *restrict first = by->first + at, *restrict second = by->second + at;
    const float *restrict g = by->gradient + at, *numbers = by->numbers, a = numbers[0], b = numbers[1], c = numbers[2];
    if (by->kind == GIVEN) memcpy(to, first, n * sizeof(float));
    if (by->kind == SINCE)
        for (int64_t i = 0; i < n; i++) to[i] = first[i] - second[i], first[i] = second[i];
    if (by->kind == ADAM)
        for (int64_t i = 0; i < n; i++) {
            float mean = first[i] += (g[i] - first[i]) * a;
            float square = second[i] = second[i] * b + g[i] * g[i] * c;
            to[i] = by_adam(numbers, mean, square);
        }
    if (by->kind == RMSPROP)
        for (int64_t i = 0; i < n; i++)
            to[i] = by_rmsprop(numbers, g[i], second[i] = second[i] * a + g[i] * g[i] * b);
}

/* The same at those of `some` from `i` to `end`, which lie there, and of the rest what else it does. */
static void some_of(const Movement *by, int64_t at, int64_t n, const Some *some, int64_t i, int64_t end, float *to) {
    const float *first = by->first, *second = by->second, *g = by->gradient, *numbers = by->numbers;
    if (by->kind == ADAM || by->kind == RMSPROP) advance(by, at, n);
    for (; i < end; i++) {
        int64_t p = place_of(some, i);
        if (by->kind == GIVEN) *to++ = first[p];
        if (by->kind == SINCE) *to++ = first[p] - second[p];
        if (by->kind == ADAM) *to++ = by_adam(numbers, first[p], second[p]);
        if (by->kind == RMSPROP) *to++ = by_rmsprop(numbers, g[p], second[p]);
    }
    if (by->kind == SINCE) memcpy(by->first + at, second + at, n * sizeof(float));
}

/* The movement of all [n] entries. */
void movement(const Movement *by, float *to, int64_t n, int32_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < n; at += PART)
        for (int64_t c = at; c < least(at + PART, n); c += CHUNK) all_of(by, c, least(CHUNK, n - c), to + c);
}

static void step_few(const Few *step, int64_t part, int64_t stop) {
    const Some *own = &step->own, *task = &step->task;
    int64_t i = from(own, part), owns = from(own, stop), own_ahead = i;
    int64_t j = from(task, part), tasks = from(task, stop), task_ahead = j;
    float *weights = step->weights, moved[FEW];
    for (int64_t k = i; k < owns; k += 8) __builtin_prefetch(own->places + k);
    for (int64_t k = j; k < tasks; k += 8) __builtin_prefetch(task->places + k);
    for (int64_t k = j; k < tasks; k += 16) __builtin_prefetch(task->values + k), __builtin_prefetch(step->noise + k);
    for (int64_t at = part; at < stop; at += FEW) {
        int64_t end = least(at + FEW, stop), soon = end + FEW, first = i;
        for (; own_ahead < owns && place_of(own, own_ahead) < soon; own_ahead++)
            __builtin_prefetch(weights + place_of(own, own_ahead), 1);
        for (; task_ahead < tasks && place_of(task, task_ahead) < soon; task_ahead++)
            __builtin_prefetch(weights + place_of(task, task_ahead), 1);
        while (i < owns && place_of(own, i) < end) i++;
        some_of(&step->by, at, end - at, own, first, i, moved);
        for (int64_t k = first; k < i; k++) weights[place_of(own, k)] += moved[k - first] * own->share;
        for (; j < tasks && place_of(task, j) < end; j++) {
            float *weight = weights + place_of(task, j);
            *weight = add(*weight, task->values[j] * task->share, step->noise[j]);
        }
    }
}

/* Take `count` steps of tensors that do not depend on each other. */
void steps_few(const Few *steps, int64_t count, int32_t threads) {
#pragma omp parallel num_threads(threads)
    for (const Few *step = steps; step < steps + count; step++) {
#pragma omp for schedule(static) nowait
        for (int64_t at = 0; at < step->n; at += PART) step_few(step, at, least(at + PART, step->n));
    }
}

static void floats_of(const uint16_t *half, int64_t n, float *restrict to) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(to + i, &bits, 4);
    }
}

static const float *drawn(const Circle *circle, int64_t place, const float *otherwise) {
    return circle->around ? circle->around + circle->starts[place / BLOCK] + place % BLOCK : otherwise;
}

/* Move weights [n] by update and task vector, all entries. `first`: where in a block the first of them stands. */
void step_all(const Movement *by, float *weights, int64_t n, const void *task, int32_t bfloat16, const Rule *rule,
              const Circle *circles /* of update, task, rounding */, int64_t first, int32_t threads) {
    const Rule r = *rule;
    float ones[CHUNK];
    for (int i = 0; i < CHUNK; i++) ones[i] = 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < first + n; part += PART)
        for (int64_t place = part < first ? first : part; place < least(part + PART, first + n);) {
            int64_t at = place - first, c = least(CHUNK, least(part + PART, first + n) - place);
            float update[CHUNK], half[CHUNK], *w = weights + at; /* the movement may go over these too */
            all_of(by, at, c, update);
            if (bfloat16) floats_of((const uint16_t *)task + at, c, half);
            const float *pull = bfloat16 ? half : (const float *)task + at;
            if (r.elects) {
                float above = at < r.until ? nextafterf(r.above, -1) : r.above;
                for (int64_t i = at < r.until ? r.until - at : c; i < c; i++)
                    if (fabsf(update[i]) == r.above) update[i] = 0;
                for (int64_t i = 0; i < c; i++)
                    update[i] = elected(&r, fabsf(update[i]) > above ? update[i] : 0, pull[i]);
            } else {
                const float *own = drawn(circles, place, ones), *others = drawn(circles + 1, place, ones);
                for (int64_t i = 0; i < c; i++)
                    update[i] = update[i] * own[i] * r.of_update + pull[i] * others[i] * r.of_task;
            }
            const float *noise = drawn(circles + 2, place, NULL);
            for (int64_t i = 0; i < c && noise; i++) w[i] = add(w[i], update[i], noise[i]);
            for (int64_t i = 0; i < c && !noise; i++) w[i] += update[i];
            place += c;
        }
}

/* How many magnitudes of `values` [n] lie above `high`; those from `low` to `high`, in order, and their number. */
int64_t between(const float *values, int64_t n, float low, float high, float *near, int64_t *found, int32_t threads) {
    int64_t above = 0, total = 0, parts = (n + PART - 1) / PART;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : above)
    for (int64_t part = 0; part < parts; part++) {
        float *to = near + part * PART; /* where as many have room as there are */
        int64_t k = 0, stop = least((part + 1) * PART, n);
        for (int64_t at = part * PART; at < stop; at += CHUNK) {
            const float *x = values + at;
            int c = least(CHUNK, stop - at), over = 0;
            uint64_t eight[CHUNK / 8] = {0};
            uint8_t *flags = (uint8_t *)eight;
            for (int i = 0; i < c; i++) {
                float size = fabsf(x[i]);
                over += size > high;
                flags[i] = (size >= low) & (size <= high);
            }
            above += over;
            for (int i = 0; i < c; i += 8)
                if (eight[i / 8])
                    for (int j = i; j < least(i + 8, c); j++) {
                        to[k] = fabsf(x[j]); /* stays if it is flagged */
                        k += flags[j];
                    }
        }
        found[part] = k;
    }
    for (int64_t part = 0; part < parts; total += found[part++])
        memmove(near + total, near + part * PART, found[part] * sizeof(float));
    found[0] = total;
    return above;
}

/* Behind which entry of `values` [n] `count` magnitudes equal `size`. */
int64_t behind(const float *values, int64_t n, float size, int64_t count) {
    int64_t i = 0;
    while (i < n && count > 0) count -= fabsf(values[i++]) == size;
    return i;
}

/* Move weights [n] where the update's magnitude is above `rule`'s or the task vector has an entry. `start`: where on
   the circle of `noise` the first entry has its own; NULL: no rounding. */
void step_largest(const float *update, float *weights, int64_t n, const Some *task, const Rule *rule,
                  const float *noise, int64_t start, int32_t threads) {
    const Rule r = *rule;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < n; part += PART) {
        int64_t stop = least(part + PART, n), t = from(task, part), last = from(task, stop);
        for (int64_t at = part; at < stop; at += CHUNK) {
            const float *x = update + at, *own = noise ? noise + (start + at) % LEVELS : x;
            int c = least(CHUNK, stop - at);
            uint64_t eight[CHUNK / 8] = {0};
            uint8_t *flags = (uint8_t *)eight;
            float pull[CHUNK];
            for (int i = 0; i < c; i++) flags[i] = fabsf(x[i]) >= r.above;
            for (; t < last && place_of(task, t) < at + c; t++) {
                flags[place_of(task, t) - at] |= PULLED;
                pull[place_of(task, t) - at] = task->values[t];
            }
            for (int i = 0; i < c; i += 8)
                if (eight[i / 8]) __builtin_prefetch(weights + at + i, 1), __builtin_prefetch(own + i);
            for (int i = 0; i < c; i += 8)
                if (eight[i / 8])
                    for (int j = i; j < least(i + 8, c); j++) {
                        float *weight = weights + at + j;
                        int kept = flags[j] & 1 && (fabsf(x[j]) > r.above || at + j < r.until);
                        if (!kept && !(flags[j] & PULLED)) continue;
                        float by = elected(&r, kept ? x[j] : 0, flags[j] & PULLED ? pull[j] : 0);
                        *weight = noise ? add(*weight, by, own[j]) : *weight + by;
                    }
        }
    }
}
