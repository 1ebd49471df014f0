// Local training of dense networks: all steps of a client in one call, on one core.
//
//     aₗ = f(Wₗ aₗ₋₁ + bₗ)                                     forward, l = 1 … n; a₀ are the inputs
//     δₙ = ∂loss/∂zₙ,   δₗ₋₁ = (Wₗᵀ δₗ) · f′(aₗ₋₁)               backward; f′ is a function of f's value
//     Wₗ ← step(Wₗ, Σ δₗ aₗ₋₁ᵀ),   bₗ ← step(bₗ, Σ δₗ)           at once: no gradient is ever written to memory
//
// In a step of ten examples the time goes into reading and writing W, so each product keeps a tile of its result in
// registers and runs along W. Rows are filled up with zeros to whole vectors of the processor, which stay zero or are
// never read. Sums run in one order, so equal inputs give equal bytes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 5, WIDE = 4;  // a vector's numbers; a tile's rows and vectors: its sums in registers
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 6, WIDE = 2;
#else
constexpr int LANES = 4, ROWS = 5, WIDE = 4;
#endif
constexpr int64_t NEAR = 1 << 17;  // floats that stay near the core

#if defined(__AVX512F__) && defined(__GNUC__)
#define HELD(vector) asm("" : "+v"(vector))  // read once: GCC would else read it again for each product
#else
#define HELD(vector)
#endif

typedef float Vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Int __attribute__((vector_size(4 * LANES), may_alias));

enum { IDENTITY, RELU, TANH, SIGMOID };
enum { CROSS_ENTROPY, SQUARED, BINARY };
enum { SGD, MOMENTUM, ADAM, ADAMW };
constexpr float BETA = 0.9f, BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f;  // as in fused/torch.py

struct Layer {
    int64_t in, out, weights, bias, activation;  // places in the caller's vector; bias −1 for none
};

struct Step {
    int64_t optimizer;
    double rate, decay, pull;
    const double *centre, *shift;  // null for none
};

Vec& at(float* p) { return *reinterpret_cast<Vec*>(p); }
const Vec& at(const float* p) { return *reinterpret_cast<const Vec*>(p); }
int64_t filled(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
Vec every(float x) { return x - Vec{}; }

template <int N>
float total(const float* p) {
    if constexpr (N == 1) return *p;
    else {
        typedef float Half __attribute__((vector_size(2 * N), aligned(4), may_alias));
        Half sum = *reinterpret_cast<const Half*>(p) + *reinterpret_cast<const Half*>(p + N / 2);
        return total<N / 2>(reinterpret_cast<const float*>(&sum));
    }
}

Vec exponential(Vec x) {  // as in Cephes' expf: 2ⁿ eʳ with |r| ≤ ln 2 / 2
    constexpr float MAGIC = 12582912.0f;  // 1.5 · 2²³ rounds what is added to it to a whole number
    x = x > 88.0f ? every(88.0f) : x;
    x = x < -87.0f ? every(-87.0f) : x;
    Vec n = x * 1.44269504f + MAGIC;
    Int power = ((Int)n - (Int)every(MAGIC) + 127) << 23;
    n -= MAGIC;
    Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vec e = every(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        e = e * r + c;
    return (e * r * r + r + 1.0f) * (Vec)power;
}

Vec tangent(Vec x) {  // tanh: near 0 by its series, where 1 − … would leave few digits
    Vec square = x * x, odd = every(0.0218694885f);
    for (float c : {-0.0539682540f, 0.1333333333f, -0.3333333333f, 1.0f}) odd = odd * square + c;
    return square < 0.04f ? x * odd : 1 - 2 / (exponential(2 * x) + 1);
}

// ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// z[i, j] = b[j] + Σₖ x[i, k] w[j, k] for I rows of x and J of w; width is a whole number of vectors.
template <int I, int J>
void dots(const float* x, const float* w, const float* b, float* z, int64_t width, int64_t next) {
    Vec sums[I][J] = {};
    for (int64_t k = 0; k < width; k += LANES) {
        Vec ws[J];
        for (int j = 0; j < J; j++) ws[j] = at(w + j * width + k);
        for (int i = 0; i < I; i++) {
            Vec one = at(x + i * width + k);
            HELD(one);
            for (int j = 0; j < J; j++) sums[i][j] += one * ws[j];
        }
    }
    for (int i = 0; i < I; i++)
        for (int j = 0; j < J; j++) z[i * next + j] = b[j] + total<LANES>(reinterpret_cast<float*>(&sums[i][j]));
}

// Σₚ a[r·row + p·step] b[p, ·] for R rows r and V vectors; `then` gets each vector of the sum.
template <int R, int V, class Then>
void outer(const float* a, int64_t row, int64_t step, const float* b, int64_t width, int64_t n, Then then) {
    Vec sums[R][V] = {};
    for (int64_t p = 0; p < n; p++, a += step, b += width) {
        Vec bs[V];
        for (int v = 0; v < V; v++) bs[v] = at(b + v * LANES);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) sums[r][v] += a[r * row] * bs[v];
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) then(r, v * LANES, sums[r][v]);
}

// Calls tile<rows, columns>(row, column) until the whole is covered; columns in units of `unit`.
template <int R, int C, class Tile>
void tiled(int64_t rows, int64_t columns, int64_t unit, Tile tile) {
    for (int64_t r = 0; r < rows;) {
        bool many = rows - r >= R;
        for (int64_t c = 0; c < columns;) {
            bool wide = columns - c >= C * unit;
            if (many && wide) tile.template operator()<R, C>(r, c);
            else if (many) tile.template operator()<R, 1>(r, c);
            else if (wide) tile.template operator()<1, C>(r, c);
            else tile.template operator()<1, 1>(r, c);
            c += wide ? C * unit : unit;
        }
        r += many ? R : 1;
    }
}

// ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// The network while it trains. All vectors of parameters have one layout: W₁, b₁, W₂, … with filled-up rows.
struct Net {
    const Layer* layers;
    int64_t depth, batch;
    float *y, *centre, *shift, *m, *v;  // parameters, drift, moments; null where there is none
    float *a, *delta, *before;          // a₀ … aₙ one behind the other; δₗ and δₗ₋₁
    int64_t optimizer;
    float rate, decay, pull, first, second;  // the last two: 1 − β₁ᵗ, 1 − β₂ᵗ
};

int64_t activations(const Net& net, int64_t l) {
    int64_t place = 0;
    for (int64_t i = 0; i < l; i++) place += net.batch * filled(net.layers[i].in);
    return place;
}

int64_t weights(const Net& net, int64_t l) {
    int64_t place = 0;
    for (int64_t i = 0; i < l; i++) place += filled(net.layers[i].in) * net.layers[i].out + filled(net.layers[i].out);
    return place;
}

Vec corrected(const Net& net, int64_t i, Vec y, Vec g) {
    if (net.centre) g += net.pull * (y - at(net.centre + i));
    if (net.shift) g += at(net.shift + i);
    return net.optimizer == ADAMW ? g : g + net.decay * y;
}

template <int OPTIMIZER>
void stepped(const Net& net, int64_t i, Vec g) {
    Vec y = at(net.y + i);
    g = corrected(net, i, y, g);
    if constexpr (OPTIMIZER == MOMENTUM) y -= net.rate * (at(net.m + i) = BETA * at(net.m + i) + g);
    else {
        Vec m = at(net.m + i) = BETA1 * at(net.m + i) + (1 - BETA1) * g;
        Vec v = at(net.v + i) = BETA2 * at(net.v + i) + (1 - BETA2) * g * g, root = v / net.second;
        for (int l = 0; l < LANES; l++) root[l] = std::sqrt(root[l]);
        if (OPTIMIZER == ADAMW) y -= net.rate * net.decay * y;
        y -= net.rate / net.first * m / (root + EPSILON);
    }
    at(net.y + i) = y;
}

// A step of SGD adds a sum over −η δ to y, and before that what corrects the gradient. (The sum begins with 0: what one
// example of many adds would be lost beside y.)
void begun(const Net& net, int64_t l, int64_t n) {
    int64_t place = weights(net, l), end = weights(net, l + 1);
    for (int64_t i = 0; i < n * filled(net.layers[l].out); i += LANES) at(net.delta + i) *= -net.rate;
    if (!net.centre && !net.shift && net.decay == 0) return;
    for (int64_t i = place; i < end; i += LANES) at(net.y + i) -= net.rate * corrected(net, i, at(net.y + i), Vec{});
}

template <int OPTIMIZER>
void update(const Net& net, int64_t l, int64_t n) {
    const Net own = net;  // nothing that is written can be in it, so its numbers stay in registers
    const Layer layer = own.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out), some = std::max<int64_t>(NEAR / n / (WIDE * LANES), 1);
    int64_t place = weights(own, l);
    const float* a = own.a + activations(own, l);
    auto then = [=](int64_t i, Vec g) {
        if constexpr (OPTIMIZER == SGD) at(own.y + i) += g;
        else stepped<OPTIMIZER>(own, i, g);
    };
    if (OPTIMIZER == SGD) begun(own, l, n);
    for (int64_t begin = 0, many = some * WIDE * LANES; begin < width; begin += many)
        tiled<ROWS, WIDE>(layer.out, std::min(many, width - begin), LANES, [=]<int R, int V>(int64_t j, int64_t k) {
            int64_t corner = place + j * width + begin + k;
            outer<R, V>(own.delta + j, 1, out, a + begin + k, width, n,
                        [=](int r, int c, Vec g) { then(corner + r * width + c, g); });
        });
    if (layer.bias < 0) return;
    for (int64_t j = 0, corner = place + layer.out * width; j < out; j += LANES) {
        Vec g = {};
        for (int64_t i = 0; i < n; i++) g += at(own.delta + i * out + j);
        then(corner + j, g);
    }
}

void forward(const Net& net, int64_t l, int64_t n) {
    const Layer& layer = net.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out), some = std::max<int64_t>(NEAR / 2 / width / ROWS, 1);
    float *w = net.y + weights(net, l), *b = w + layer.out * width;
    float *a = net.a + activations(net, l), *z = net.a + activations(net, l + 1);
    for (int64_t begin = 0, many = some * ROWS; begin < n; begin += many)
        tiled<WIDE, ROWS>(layer.out, std::min(many, n - begin), 1, [&]<int J, int I>(int64_t j, int64_t i) {
            dots<I, J>(a + (begin + i) * width, w + j * width, b + j, z + (begin + i) * out + j, width, out);
        });
    if (layer.activation == IDENTITY) return;
    for (int64_t i = 0; i < n * out; i += LANES) {
        Vec& one = at(z + i);
        if (layer.activation == RELU) one = one < 0 ? Vec{} : one;
        else if (layer.activation == TANH) one = tangent(one);
        else one = 1 / (1 + exponential(-one));
    }
    if (layer.activation == SIGMOID)  // its value at 0 is not 0
        for (int64_t i = 0; i < n; i++) std::fill(z + i * out + layer.out, z + (i + 1) * out, 0.0f);
}

void backward(const Net& net, int64_t l, int64_t n) {
    const Layer layer = net.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out), activation = net.layers[l - 1].activation;
    const float *w = net.y + weights(net, l), *a = net.a + activations(net, l), *delta = net.delta;
    float* before = net.before;
    tiled<ROWS, WIDE>(n, width, LANES, [=]<int R, int V>(int64_t i, int64_t k) {
        outer<R, V>(delta + i * out, out, 1, w + k, width, layer.out, [=](int r, int c, Vec sum) {
            int64_t place = (i + r) * width + k + c;
            Vec f = at(a + place);
            if (activation == RELU) sum = f <= 0 ? Vec{} : sum;
            else if (activation == TANH) sum *= 1 - f * f;
            else if (activation == SIGMOID) sum *= f * (1 - f);
            at(before + place) = sum;
        });
    });
}

// The loss, a mean over the batch, and δ of the last layer in its place.
double compared(const Net& net, int64_t loss, int64_t n, const void* targets, const int64_t* rows) {
    int64_t k = net.layers[net.depth - 1].out, width = filled(k);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float *z = net.a + activations(net, net.depth) + i * width, *d = net.delta + i * width;
        if (loss == CROSS_ENTROPY) {
            int64_t right = static_cast<const int64_t*>(targets)[rows[i]];
            float most = *std::max_element(z, z + k), all = 0;
            for (int64_t j = 0; j < width; j += LANES) at(d + j) = exponential(at(z + j) - most);
            for (int64_t j = 0; j < k; j++) all += d[j];
            for (int64_t j = 0; j < k; j++) d[j] /= all * n;
            std::fill(d + k, d + width, 0.0f);
            d[right] -= 1.0f / n;
            sum += std::log(all) + most - z[right];
            continue;
        }
        const float* y = static_cast<const float*>(targets) + rows[i] * k;
        for (int64_t j = 0; j < k; j++) {
            float apart = z[j] - y[j], e = std::exp(-std::abs(z[j]));
            d[j] = loss == SQUARED ? 2 * apart : (z[j] < 0 ? e : 1.0f) / (1 + e) - y[j];
            d[j] /= n * k;
            sum += (loss == SQUARED ? apart * apart : std::max(z[j], 0.0f) - z[j] * y[j] + std::log1p(e)) / k;
        }
    }
    return sum / n;
}

template <int OPTIMIZER>
double step(Net& net, int64_t loss, const float* inputs, const void* targets, const int64_t* rows, int64_t n) {
    int64_t in = net.layers[0].in, width = filled(in);
    for (int64_t i = 0; i < n; i++) std::memcpy(net.a + i * width, inputs + rows[i] * in, in * sizeof(float));
    for (int64_t l = 0; l < net.depth; l++) forward(net, l, n);
    double value = compared(net, loss, n, targets, rows);
    for (int64_t l = net.depth - 1; l >= 0; l--) {
        if (l) backward(net, l, n);
        update<OPTIMIZER>(net, l, n);
        std::swap(net.delta, net.before);
    }
    return value;
}

// ── a client's training ──────────────────────────────────────────────────────────────────────────────────────────────

// Lays the net out in `work`, or only counts: the floats that it takes.
int64_t laid(Net& net, const Step& how, float* work) {
    int64_t used = 0;
    auto take = [&](bool wanted, int64_t n) {
        float* part = wanted && work ? work + used : nullptr;
        used += wanted ? n : 0;
        return part;
    };
    int64_t size = weights(net, net.depth), last = filled(net.layers[net.depth - 1].out), widest = last;
    for (int64_t l = 1; l < net.depth; l++) widest = std::max(widest, filled(net.layers[l].in));
    net.y = take(true, size);
    net.centre = take(how.centre, size);
    net.shift = take(how.shift, size);
    net.m = take(how.optimizer != SGD, size);
    net.v = take(how.optimizer >= ADAM, size);
    net.a = take(true, activations(net, net.depth) + net.batch * last);
    net.delta = take(true, net.batch * widest);
    net.before = take(true, net.batch * widest);
    return used;
}

// Calls copy(ours, theirs) for each number of a vector of parameters.
template <class Ours, class Theirs, class Copy>
void carried(const Net& net, Ours* ours, Theirs* theirs, Copy copy) {
    for (int64_t l = 0; l < net.depth; l++) {
        const Layer& layer = net.layers[l];
        for (int64_t j = 0; j < layer.out; j++, ours += filled(layer.in))
            for (int64_t i = 0; i < layer.in; i++) copy(ours[i], theirs[layer.weights + j * layer.in + i]);
        if (layer.bias >= 0)
            for (int64_t j = 0; j < layer.out; j++) copy(ours[j], theirs[layer.bias + j]);
        ours += filled(layer.out);
    }
}

// Asks for examples that the next step will read from far away, while this one computes.
void fetched(const float* inputs, const int64_t* rows, int64_t n, int64_t in) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < in; k += 16) __builtin_prefetch(inputs + rows[i] * in + k, 0, 2);
}

template <int OPTIMIZER>
double trained(Net& net, int64_t loss, const float* inputs, const void* targets, const int64_t* rows,
               const int64_t* sizes, int64_t steps) {
    double sum = 0, power1 = 1, power2 = 1;
    for (int64_t t = 0; t < steps; rows += sizes[t++]) {
        if (t + 1 < steps) fetched(inputs, rows + sizes[t], sizes[t + 1], net.layers[0].in);
        net.first = static_cast<float>(1 - (power1 *= BETA1));
        net.second = static_cast<float>(1 - (power2 *= BETA2));
        sum += step<OPTIMIZER>(net, loss, inputs, targets, rows, sizes[t]);
    }
    return sum;
}

}  // namespace

// How many floats of memory `train` works in, with batches of at most so many rows.
extern "C" int64_t room(const Layer* layers, int64_t depth, int64_t batch, const Step* how) {
    Net net = {};
    net.layers = layers, net.depth = depth, net.batch = batch;
    return laid(net, *how, nullptr);
}

// Trains from x to `end` with a step for each size, whose batch is the next rows of the data; the sum of their losses.
extern "C" double train(const Layer* layers, int64_t depth, int64_t batch, const Step* how, int64_t loss,
                        const double* x, double* end, const float* inputs, const void* targets, const int64_t* rows,
                        const int64_t* sizes, int64_t steps, float* work) {
    Net net = {};
    net.layers = layers, net.depth = depth, net.batch = batch;
    std::memset(work, 0, laid(net, *how, work) * sizeof(float));
    net.optimizer = how->optimizer;
    net.rate = how->rate, net.decay = how->decay, net.pull = how->pull;
    auto load = [](float& ours, double theirs) { ours = static_cast<float>(theirs); };
    carried(net, net.y, x, load);
    if (how->centre) carried(net, net.centre, how->centre, load);
    if (how->shift) carried(net, net.shift, how->shift, load);
    auto run = how->optimizer == SGD        ? trained<SGD>
               : how->optimizer == MOMENTUM ? trained<MOMENTUM>
               : how->optimizer == ADAM     ? trained<ADAM>
                                            : trained<ADAMW>;
    double sum = run(net, loss, inputs, targets, rows, sizes, steps);
    carried(net, net.y, end, [](float ours, double& theirs) { theirs = ours; });
    return sum;
}
