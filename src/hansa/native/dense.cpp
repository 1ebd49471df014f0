// Local training of dense networks: all steps of a client in one call, on one core.
//
//     aₗ = f(Wₗ aₗ₋₁ + bₗ + aₛ)                                forward, l = 1 … n; a₀ are the inputs, aₛ a skip's, if any
//     δₙ = ∂loss/∂zₙ,   δₗ₋₁ = (Wₗᵀ δₗ + Σ δᵢ) · f′(aₗ₋₁)        backward; i: layers that add aₗ₋₁; f′: of f's value
//     Wₗ ← step(Wₗ, Σ δₗ aₗ₋₁ᵀ),   bₗ ← step(bₗ, Σ δₗ)           at once: no gradient is ever written to memory
//
// Rows are filled up with zeros to whole vectors of the processor, which stay zero or are never read. Sums run in one
// order, so equal inputs give equal bytes.

#include "products.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

typedef int32_t Int __attribute__((vector_size(4 * LANES), may_alias));

enum { IDENTITY, RELU, TANH, SIGMOID };
enum { CROSS_ENTROPY, SQUARED, BINARY, ABSOLUTE, SMOOTH };
enum { SGD, MOMENTUM, ADAM, ADAMW };
constexpr float BETA = 0.9f, BETA1 = 0.9f, BETA2 = 0.999f, EPSILON = 1e-8f;  // as in steps/torch.py

struct Layer {
    int64_t in, out, weights, bias;  // places in the caller's vector, −1 for none; without weights W is the identity
    int64_t activation, skip;        // which a is added, −1 for none
    int64_t fixed;                   // what stays as it is: 0 nothing, 1 W, 2 b, 3 both
};

struct Step {
    int64_t optimizer;
    double rate, decay, pull;
    const double *centre, *pulls, *shift;  // null for none; pulls: a strength for each number, beside pull
};

int64_t filled(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
Vec every(float x) { return x - Vec{}; }

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

// ── one step ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// The network while it trains. All vectors of parameters have one layout: W₁, b₁, W₂, … with filled-up rows.
struct Net {
    const Layer* layers;
    int64_t depth, batch;
    float *y, *centre, *pulls, *shift, *m, *v;  // parameters, drift, moments; null where there is none
    float *a, *delta, *before;                  // a₀ … aₙ one behind the other; δₗ and δₗ₋₁
    float* skipped;                             // Σ δᵢ for a₀ … aₙ₋₁; null where nothing is added
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
    for (int64_t i = 0; i < l; i++)
        if (net.layers[i].weights >= 0)
            place += filled(net.layers[i].in) * net.layers[i].out + filled(net.layers[i].out);
    return place;
}

Vec corrected(const Net& net, int64_t i, Vec y, Vec g) {
    if (net.pulls) g += at(net.pulls + i) * (y - at(net.centre + i));
    else if (net.centre) g += net.pull * (y - at(net.centre + i));
    if (net.shift) g += at(net.shift + i);
    return net.optimizer == ADAMW ? g : g + net.decay * y;
}

template <int OPTIMIZER>
void stepped(const Net& net, int64_t i, Vec g) {
    Vec y = at(net.y + i);
    g = corrected(net, i, y, g);
    if constexpr (OPTIMIZER == MOMENTUM) {
        Vec m = BETA * at(net.m + i) + g;
        put(net.m + i, m);
        y -= net.rate * m;
    } else {
        Vec m = BETA1 * at(net.m + i) + (1 - BETA1) * g;
        Vec v = BETA2 * at(net.v + i) + (1 - BETA2) * g * g, root = v / net.second;
        put(net.m + i, m);
        put(net.v + i, v);
        for (int l = 0; l < LANES; l++) root[l] = std::sqrt(root[l]);
        if (OPTIMIZER == ADAMW) y -= net.rate * net.decay * y;
        y -= net.rate / net.first * m / (root + EPSILON);
    }
    put(net.y + i, y);
}

// A step of SGD adds a sum over −η δ to y, and before that what corrects the gradient. (The sum begins with 0: what one
// example of many adds would be lost beside y.)
void begun(const Net& net, int64_t l, int64_t n) {
    const Layer& layer = net.layers[l];
    int64_t place = weights(net, l), corner = place + layer.out * filled(layer.in), end = weights(net, l + 1);
    for (int64_t i = 0; i < n * filled(layer.out); i += LANES) put(net.delta + i, -net.rate * at(net.delta + i));
    if (!net.centre && !net.shift && net.decay == 0) return;
    for (int64_t i = layer.fixed & 1 ? corner : place; i < (layer.fixed & 2 ? corner : end); i += LANES) {
        Vec y = at(net.y + i);
        put(net.y + i, y - net.rate * corrected(net, i, y, Vec{}));
    }
}

template <int OPTIMIZER>
void update(const Net& net, int64_t l, int64_t n) {
    const Net own = net;  // nothing that is written can be in it, so its numbers stay in registers
    const Layer layer = own.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out), place = weights(own, l);
    const float* a = own.a + activations(own, l);
    auto then = [=](int64_t i, Vec g) {
        if constexpr (OPTIMIZER == SGD) put(own.y + i, at(own.y + i) + g);
        else stepped<OPTIMIZER>(own, i, g);
    };
    if (OPTIMIZER == SGD) begun(own, l, n);
    if (!(layer.fixed & 1))
        summed(own.delta, 1, out, a, width, n, layer.out,
               [=](int64_t j, int64_t k, Vec g) { then(place + j * width + k, g); });
    if (layer.bias < 0 || layer.fixed & 2) return;
    for (int64_t j = 0, corner = place + layer.out * width; j < out; j += LANES) {
        Vec g = {};
        for (int64_t i = 0; i < n; i++) g += at(own.delta + i * out + j);
        then(corner + j, g);
    }
}

void added(const float* what, float* sum, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) put(sum + i, at(sum + i) + at(what + i));
}

void forward(const Net& net, int64_t l, int64_t n) {
    const Layer& layer = net.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out);
    float *w = net.y + weights(net, l), *b = w + layer.out * width;
    float *a = net.a + activations(net, l), *z = net.a + activations(net, l + 1);
    if (layer.weights >= 0) dotted(a, w, b, z, n, layer.out, width, out);
    else std::copy(a, a + n * width, z);
    if (layer.skip >= 0) added(net.a + activations(net, layer.skip), z, n * out);
    if (layer.activation == IDENTITY) return;
    for (int64_t i = 0; i < n * out; i += LANES) {
        Vec one = at(z + i);
        if (layer.activation == RELU) one = one < 0 ? Vec{} : one;
        else if (layer.activation == TANH) one = tangent(one);
        else one = 1 / (1 + exponential(-one));
        put(z + i, one);
    }
    if (layer.activation == SIGMOID)  // its value at 0 is not 0
        for (int64_t i = 0; i < n; i++) std::fill(z + i * out + layer.out, z + (i + 1) * out, 0.0f);
}

template <bool SKIPS>
void backward(const Net& net, int64_t l, int64_t n) {
    const Layer layer = net.layers[l];
    int64_t width = filled(layer.in), out = filled(layer.out), activation = net.layers[l - 1].activation;
    const float *w = net.y + weights(net, l), *a = net.a + activations(net, l), *delta = net.delta;
    const float* skipped = net.skipped + (SKIPS ? activations(net, l) : 0);
    float* before = net.before;
    auto then = [=](int64_t i, Vec sum) {
        Vec f = at(a + i);
        if constexpr (SKIPS) sum += at(skipped + i);
        if (activation == RELU) sum = f <= 0 ? Vec{} : sum;
        else if (activation == TANH) sum *= 1 - f * f;
        else if (activation == SIGMOID) sum *= f * (1 - f);
        put(before + i, sum);
    };
    if (layer.weights >= 0)
        summed(delta, out, 1, w, width, layer.out, n, [=](int64_t i, int64_t k, Vec sum) { then(i * width + k, sum); });
    else
        for (int64_t i = 0; i < n * width; i += LANES) then(i, at(delta + i));
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
            for (int64_t j = 0; j < width; j += LANES) put(d + j, exponential(at(z + j) - most));
            for (int64_t j = 0; j < k; j++) all += d[j];
            for (int64_t j = 0; j < k; j++) d[j] /= all * n;
            std::fill(d + k, d + width, 0.0f);
            d[right] -= 1.0f / n;
            sum += std::log(all) + most - z[right];
            continue;
        }
        const float* y = static_cast<const float*>(targets) + rows[i] * k;
        for (int64_t j = 0; j < k; j++) {
            float apart = z[j] - y[j], size = std::abs(apart), value;
            if (loss == SQUARED) {
                d[j] = 2 * apart;
                value = apart * apart;
            } else if (loss == ABSOLUTE) {
                d[j] = (apart > 0) - (apart < 0);
                value = size;
            } else if (loss == SMOOTH) {
                d[j] = std::clamp(apart, -1.0f, 1.0f);
                value = size < 1 ? apart * apart / 2 : size - 0.5f;
            } else {
                float e = std::exp(-std::abs(z[j]));
                d[j] = (z[j] < 0 ? e : 1.0f) / (1 + e) - y[j];
                value = std::max(z[j], 0.0f) - z[j] * y[j] + std::log1p(e);
            }
            d[j] /= n * k;
            sum += value / k;
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
    if (net.skipped) std::fill(net.skipped, net.skipped + activations(net, net.depth), 0.0f);
    for (int64_t l = net.depth - 1; l >= 0; l--) {
        const Layer& layer = net.layers[l];
        if (layer.skip > 0) added(net.delta, net.skipped + activations(net, layer.skip), n * filled(layer.out));
        if (l) net.skipped ? backward<true>(net, l, n) : backward<false>(net, l, n);
        if (layer.weights >= 0 && layer.fixed != 3) update<OPTIMIZER>(net, l, n);
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
    net.pulls = take(how.pulls, size);
    net.shift = take(how.shift, size);
    net.m = take(how.optimizer != SGD, size);
    net.v = take(how.optimizer >= ADAM, size);
    net.a = take(true, activations(net, net.depth) + net.batch * last);
    net.delta = take(true, net.batch * widest);
    net.before = take(true, net.batch * widest);
    bool skips = std::any_of(net.layers, net.layers + net.depth, [](const Layer& one) { return one.skip >= 0; });
    net.skipped = take(skips, activations(net, net.depth));
    return used;
}

// Calls copy(ours, theirs) for each number of a vector of parameters.
template <class Ours, class Theirs, class Copy>
void carried(const Net& net, Ours* ours, Theirs* theirs, Copy copy) {
    for (int64_t l = 0; l < net.depth; l++) {
        const Layer& layer = net.layers[l];
        if (layer.weights < 0) continue;
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
               const int64_t* sizes, int64_t steps, volatile int64_t* done) {
    double sum = 0, power1 = 1, power2 = 1;
    for (int64_t t = 0; t < steps; rows += sizes[t++]) {
        if (t + 1 < steps) fetched(inputs, rows + sizes[t], sizes[t + 1], net.layers[0].in);
        net.first = static_cast<float>(1 - (power1 *= BETA1));
        net.second = static_cast<float>(1 - (power2 *= BETA2));
        sum += step<OPTIMIZER>(net, loss, inputs, targets, rows, sizes[t]);
        *done = t + 1;
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
// In `done` another thread may read how many steps there were.
extern "C" double train(const Layer* layers, int64_t depth, int64_t batch, const Step* how, int64_t loss,
                        const double* x, double* end, const float* inputs, const void* targets, const int64_t* rows,
                        const int64_t* sizes, int64_t steps, float* work, int64_t* done) {
    Net net = {};
    net.layers = layers, net.depth = depth, net.batch = batch;
    std::memset(work, 0, laid(net, *how, work) * sizeof(float));
    net.optimizer = how->optimizer;
    net.rate = how->rate, net.decay = how->decay, net.pull = how->pull;
    auto load = [](float& ours, double theirs) { ours = static_cast<float>(theirs); };
    carried(net, net.y, x, load);
    if (how->centre) carried(net, net.centre, how->centre, load);
    if (how->pulls) carried(net, net.pulls, how->pulls, load);
    if (how->shift) carried(net, net.shift, how->shift, load);
    auto run = how->optimizer == SGD        ? trained<SGD>
               : how->optimizer == MOMENTUM ? trained<MOMENTUM>
               : how->optimizer == ADAM     ? trained<ADAM>
                                            : trained<ADAMW>;
    double sum = run(net, loss, inputs, targets, rows, sizes, steps, done);
    carried(net, net.y, end, [](float ours, double& theirs) { theirs = ours; });
    return sum;
}
