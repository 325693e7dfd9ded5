// Answers each document on standard input with what JavaScript makes of it.
//
// A request is its length (32 bits, little-endian) and the document. An answer is a byte ("s": it says the same,
// "c": a number has another value, "f": it cannot be read or written), a length, and the result.

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
let pending = Buffer.alloc(0);

process.stdin.on("data", (chunk) => {
  pending = Buffer.concat([pending, chunk]);
  const answers = [];
  let at = 0;
  while (pending.length - at >= 4) {
    const end = at + 4 + pending.readUInt32LE(at);
    if (pending.length < end) break;
    answers.push(answer(pending.subarray(at + 4, end)));
    at = end;
  }
  pending = pending.subarray(at);
  if (answers.length > 0) process.stdout.write(Buffer.concat(answers));
});

function answer(document) {
  try {
    const text = decoder.decode(document);
    const result = JSON.stringify(JSON.parse(text));
    return framed(numbersChange(text) ? "c" : "s", result);
  } catch {
    return framed("f", "");
  }
}

function framed(verdict, text) {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(5);
  head.write(verdict);
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

// Strings are matched so that the digits in them are not.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/g;

function numbersChange(text) {
  return (text.match(TOKEN) ?? []).some((token) => token[0] !== '"' && !isKept(token));
}

// Both are brought to one power of ten and compared as integers.
function isKept(literal) {
  const written = JSON.stringify(Number(literal));
  if (written === "null") return false;
  const [given, kept] = [parts(literal), parts(written)];
  if (given.digits === 0n || kept.digits === 0n) return given.digits === kept.digits;
  const apart = given.exponent - kept.exponent;
  // Farther apart than either has digits, they cannot be equal.
  if (apart > 2000n || apart < -2000n) return false;
  const [high, low] = apart >= 0n ? [given, kept] : [kept, given];
  return high.digits * 10n ** (apart >= 0n ? apart : -apart) === low.digits;
}

function parts(literal) {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(literal);
  const digits = BigInt(whole + fraction);
  return { digits: sign ? -digits : digits, exponent: BigInt(exponent.replace("+", "")) - BigInt(fraction.length) };
}
