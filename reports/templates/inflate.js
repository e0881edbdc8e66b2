// Decompress gzip (RFC 1952 without optional fields, RFC 1951), at once: a browser's own way is asynchronous, and a page that
// is printed as soon as it is loaded would lose what is packed.
const gunzip = (bytes) => {
  const out = new Uint8Array(new DataView(bytes.buffer).getUint32(bytes.length - 4, true));
  let from = 10, to = 0, bits = 0, held = 0;
  const take = (n) => {
    for (; held < n; held += 8) bits |= bytes[from++] << held;
    const value = bits & ((1 << n) - 1);
    bits >>>= n;
    held -= n;
    return value;
  };
  // A canonical Huffman code: how many words each length has, and the symbols in the order of their words.
  const code = (lengths) => {
    const count = new Uint16Array(16), place = new Uint16Array(17), symbols = [];
    for (const n of lengths) if (n) count[n]++;
    for (let n = 1; n < 16; n++) place[n + 1] = place[n] + count[n];
    lengths.forEach((n, symbol) => { if (n) symbols[place[n]++] = symbol; });
    return { count, symbols };
  };
  const symbol = ({ count, symbols }) => {
    for (let n = 1, word = 0, first = 0, index = 0; n < 16; n++) {
      word = word << 1 | take(1);
      first <<= 1;
      if (word < first + count[n]) return symbols[index + word - first];
      index += count[n];
      first += count[n];
    }
    throw new RangeError("no such word");
  };
  const ranges = (start, extra) => extra.map((n) => { const at = start; start += 1 << n; return [at, n]; });
  const extra = (count, shift) => Array.from({ length: count }, (_, n) => Math.max(0, (n >> shift) - 1));
  const lengths = [...ranges(3, extra(28, 2)), [258, 0]], distances = ranges(1, extra(30, 1));
  const value = ([start, n]) => start + take(n);
  const repeat = (count, n) => Array(count).fill(n);
  const fixed = [[...repeat(144, 8), ...repeat(112, 9), ...repeat(24, 7), ...repeat(8, 8)], repeat(30, 5)].map(code);
  const dynamic = () => {
    const literals = take(5) + 257, both = literals + take(5) + 1, meta = repeat(19, 0);
    const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].slice(0, take(4) + 4);
    for (const n of order) meta[n] = take(3);
    const words = code(meta), found = [];
    while (found.length < both) {
      const n = symbol(words);
      if (n < 16) found.push(n);
      else if (n === 16) found.push(...repeat(3 + take(2), found.at(-1)));
      else found.push(...repeat(n === 17 ? 3 + take(3) : 11 + take(7), 0));
    }
    return [found.slice(0, literals), found.slice(literals)].map(code);
  };
  for (let last = 0; !last;) {
    last = take(1);
    const kind = take(2);
    if (!kind) {
      bits = held = 0;
      const end = from + 4 + (bytes[from] | bytes[from + 1] << 8);
      out.set(bytes.subarray(from + 4, end), to);
      to += end - from - 4;
      from = end;
      continue;
    }
    const [literals, behind] = kind === 1 ? fixed : dynamic();
    for (let n; (n = symbol(literals)) !== 256;) {
      if (n < 256) out[to++] = n;
      else {
        const end = to + value(lengths[n - 257]), distance = value(distances[symbol(behind)]);
        for (; to < end; to++) out[to] = out[to - distance];
      }
    }
  }
  return out;
};
