/* Means, and which groups cannot be told apart from the best. */
const LEVEL = 0.05;
const FEWEST_PAIRS = 3;

function mean(values) {
  return values.reduce((sum, v) => sum + v, 0) / values.length;
}

function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, v) => sum + (v - middle) ** 2, 0) / (values.length - 1));
}

/* log Γ, by Lanczos's approximation (g = 7, nine terms). */
function logGamma(x) {
  const terms = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const sum = terms.reduce((total, term, i) => total + (i ? term / (x - 1 + i) : term), 0);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/* The regularized incomplete beta function, by its continued fraction (Numerical Recipes, section 6.4). */
function incompleteBeta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  const tiny = 1e-300;
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1) || tiny);
  let fraction = d;
  for (let m = 1; m < 300; m++) {
    for (const step of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / (1 + step * d || tiny);
      c = 1 + step / c || tiny;
      fraction *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front * fraction;
}

/* The chance of a |t| as large, of Student's distribution. */
function twoSided(t, freedom) {
  return Number.isFinite(t) ? incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5) : 0;
}

/* The t that is exceeded on either side with a chance of `chance` in all. */
function criticalT(chance, freedom) {
  let low = 0;
  let high = 1e6;
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (twoSided(middle, freedom) > chance) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/* Difference of the means of two groups: paired by seed where seeds are common, else by Welch's test. */
function difference(first, second) {
  const pairs = [...first.bySeed].filter(([seed]) => second.bySeed.has(seed)).map(([seed, v]) => v - second.bySeed.get(seed));
  if (pairs.length >= FEWEST_PAIRS) {
    const middle = mean(pairs);
    const error = deviation(pairs) / Math.sqrt(pairs.length);
    return tested(middle, error, pairs.length - 1, deviation(pairs), `paired over ${pairs.length} seeds`);
  }
  const [a, b] = [first.values, second.values];
  if (a.length < FEWEST_PAIRS || b.length < FEWEST_PAIRS) return null;
  const [va, vb] = [deviation(a) ** 2 / a.length, deviation(b) ** 2 / b.length];
  const freedom = (va + vb) ** 2 / (va ** 2 / (a.length - 1) + vb ** 2 / (b.length - 1));
  const pooled = Math.sqrt((deviation(a) ** 2 + deviation(b) ** 2) / 2);
  return tested(mean(a) - mean(b), Math.sqrt(va + vb), freedom || 1, pooled, "not paired: Welch's test");
}

function tested(middle, error, freedom, spread, how) {
  if (error === 0) return { difference: middle, low: middle, high: middle, effect: middle ? Infinity * Math.sign(middle) : 0, p: middle ? 0 : 1, how };
  const reach = criticalT(LEVEL, freedom) * error;
  const p = twoSided(middle / error, freedom);
  return { difference: middle, low: middle - reach, high: middle + reach, effect: middle / spread, p, how };
}

/* Holm's correction: p of several tests, so that the chance of one false finding stays the level. */
function holm(ps) {
  const order = ps.map((_, i) => i).sort((i, j) => ps[i] - ps[j]);
  const corrected = [];
  let largest = 0;
  order.forEach((index, place) => {
    largest = Math.max(largest, Math.min(1, ps[index] * (ps.length - place)));
    corrected[index] = largest;
  });
  return corrected;
}
