// QR codes (ISO/IEC 18004): bytes, error correction L, versions 1 to 10: up to 271 bytes, which links are well below.

/** By version: words of data, words of correction in each block, blocks of the first and of the second size. */
const VERSIONS = [
  [19, 7, 1, 0], [34, 10, 1, 0], [55, 15, 1, 0], [80, 20, 1, 0], [108, 26, 1, 0],
  [136, 18, 2, 0], [156, 20, 2, 0], [194, 24, 2, 0], [232, 30, 2, 0], [274, 18, 2, 2],
];
/** By version: where the middles of the small squares are. */
const ALIGNED = [[], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50]];

/** The field GF(256) with the polynomial 0x11D: powers of 2. */
const POWERS = new Uint8Array(512);
const LOGS = new Uint8Array(256);
for (let n = 0, x = 1; n < 255; n++) {
  POWERS[n] = POWERS[n + 255] = x;
  LOGS[x] = n;
  x = (x << 1) ^ (x & 0x80 ? 0x11d : 0);
}
/** @param {number} a @param {number} b */
const times = (a, b) => (a && b ? POWERS[LOGS[a] + LOGS[b]] : 0);

/** Words that correct a block: the rest of its division by the generator (Reed and Solomon). @param {number[]} data @param {number} count */
function correction(data, count) {
  let generator = [1];
  for (let n = 0; n < count; n++) {
    const next = new Array(generator.length + 1).fill(0);
    generator.forEach((factor, place) => {
      next[place] ^= factor;
      next[place + 1] ^= times(factor, POWERS[n]);
    });
    generator = next;
  }
  const rest = new Array(count).fill(0);
  for (const word of data) {
    const lead = word ^ /** @type {number} */ (rest.shift());
    rest.push(0);
    for (let n = 0; n < count; n++) rest[n] ^= times(generator[n + 1], lead);
  }
  return rest;
}

/** The words of a code: data and correction, interleaved. @param {Uint8Array} bytes @param {number} version */
function wordsOf(bytes, version) {
  const [total, check, first, second] = VERSIONS[version - 1];
  /** @type {number[]} */
  const bits = [];
  const put = (/** @type {number} */ value, /** @type {number} */ size) => {
    for (let n = size - 1; n >= 0; n--) bits.push((value >> n) & 1);
  };
  put(4, 4);
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  put(0, Math.min(4, total * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  const data = [];
  for (let n = 0; n < bits.length; n += 8) data.push(Number.parseInt(bits.slice(n, n + 8).join(""), 2));
  for (let n = 0; data.length < total; n++) data.push(n % 2 ? 0x11 : 0xec);
  const size = Math.floor(total / (first + second));
  const blocks = [];
  for (let n = 0, at = 0; n < first + second; n++) {
    const length = n < first ? size : size + 1;
    blocks.push(data.slice(at, at + length));
    at += length;
  }
  const checks = blocks.map((block) => correction(block, check));
  const words = [];
  for (let n = 0; n <= size; n++) for (const block of blocks) if (n < block.length) words.push(block[n]);
  for (let n = 0; n < check; n++) for (const one of checks) words.push(one[n]);
  return words;
}

/** The rest of a division of polynomials over GF(2). @param {number} value @param {number} by @param {number} degree */
function rest(value, by, degree) {
  let left = value << degree;
  for (let n = 31; n >= degree; n--) if ((left >>> n) & 1) left ^= by << (n - degree);
  return left;
}

/** @type {((x: number, y: number) => boolean)[]} */
const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (_, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/**
 * The modules of the code of a text, row by row: true is dark.
 * @param {string} text
 * @returns {boolean[][]}
 */
export function modules(text) {
  const bytes = new TextEncoder().encode(text);
  const version = VERSIONS.findIndex(([total], n) => bytes.length + (n < 9 ? 2 : 3) <= total) + 1;
  if (!version) throw new Error(`${bytes.length} bytes are too many`);
  const words = wordsOf(bytes, version);
  const tried = MASKS.map((_, mask) => drawn(words, version, mask));
  return tried.reduce((best, one) => (penalty(one) < penalty(best) ? one : best));
}

/** @param {number[]} words @param {number} version @param {number} mask */
function drawn(words, version, mask) {
  const size = 17 + 4 * version;
  /** @type {(boolean | null)[][]} */
  const field = Array.from({ length: size }, () => new Array(size).fill(null));
  const set = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => {
    if (x >= 0 && y >= 0 && x < size && y < size) field[y][x] = dark;
  };
  const square = (/** @type {number} */ cx, /** @type {number} */ cy, /** @type {number} */ reach, /** @type {(ring: number) => boolean} */ dark) => {
    for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) set(cx + x, cy + y, dark(Math.max(Math.abs(x), Math.abs(y))));
  };
  for (let n = 8; n < size - 8; n++) {
    set(n, 6, n % 2 === 0);
    set(6, n, n % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (ring) => ring !== 2 && ring !== 4);
  const middles = ALIGNED[version - 1];
  const last = middles.length - 1;
  middles.forEach((x, n) => {
    middles.forEach((y, m) => {
      const corner = (n === 0 && m === 0) || (n === 0 && m === last) || (n === last && m === 0);
      if (!corner) square(x, y, 2, (ring) => ring !== 1);
    });
  });
  const format = ((1 << 3) | mask) << 10 | rest((1 << 3) | mask, 0x537, 10);
  const bit = (/** @type {number} */ n) => (((format ^ 0x5412) >> n) & 1) === 1;
  for (let n = 0; n < 15; n++) {
    if (n < 8) set(8, n < 6 ? n : n + 1, bit(n));
    else set(n === 8 ? 7 : 14 - n, 8, bit(n));
    if (n < 8) set(size - 1 - n, 8, bit(n));
    else set(8, size - 15 + n, bit(n));
  }
  set(8, size - 8, true);
  if (version > 6) {
    const info = (version << 12) | rest(version, 0x1f25, 12);
    for (let n = 0; n < 18; n++) {
      const dark = ((info >> n) & 1) === 1;
      set(size - 11 + (n % 3), Math.floor(n / 3), dark);
      set(Math.floor(n / 3), size - 11 + (n % 3), dark);
    }
  }
  let place = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    const up = ((right + 1) & 2) === 0;
    for (let step = 0; step < size; step++) {
      const y = up ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (field[y][x] !== null) continue;
        const dark = place < words.length * 8 && ((words[place >> 3] >> (7 - (place & 7))) & 1) === 1;
        field[y][x] = dark !== MASKS[mask](x, y);
        place++;
      }
    }
  }
  return /** @type {boolean[][]} */ (field);
}

/** How hard a code is to read: runs of one colour, squares of it, and an uneven mixture. @param {boolean[][]} field */
function penalty(field) {
  const size = field.length;
  let points = 0;
  let dark = 0;
  for (let a = 0; a < size; a++) {
    for (const at of [(/** @type {number} */ n) => field[a][n], (/** @type {number} */ n) => field[n][a]]) {
      let run = 1;
      for (let n = 1; n <= size; n++) {
        if (n < size && at(n) === at(n - 1)) run++;
        else {
          if (run >= 5) points += run - 2;
          run = 1;
        }
      }
    }
    for (let b = 0; b < size; b++) {
      dark += field[a][b] ? 1 : 0;
      if (a && b && field[a][b] === field[a - 1][b] && field[a][b] === field[a][b - 1] && field[a][b] === field[a - 1][b - 1]) points += 3;
    }
  }
  return points + Math.floor(Math.abs((dark * 20) / (size * size) - 10)) * 10;
}
