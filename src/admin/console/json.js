// A body made readable. The text is laid out anew, and no value in it is read: a number of 19 digits keeps them all.

const PIECE = /\s+|"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/gy;

/** Returns the pieces of a JSON text with their kinds, or `null` when it is not JSON. */
function pieces(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return [...text.matchAll(PIECE)].map(([piece]) => piece).filter((piece) => piece.trim() !== "");
}

/** Lays a JSON text out: one member a line. */
function Pretty({ text }) {
  const parts = useMemo(() => pieces(text), [text]);
  if (parts === null) return html`<pre class="body" tabindex="0">${text}</pre>`;
  const out = [];
  let depth = 0;
  parts.forEach((piece, at) => {
    const next = parts[at + 1];
    const line = () => out.push(`\n${"  ".repeat(depth)}`);
    if (piece === "{" || piece === "[") {
      out.push(piece);
      depth += 1;
      if (next !== "}" && next !== "]") line();
    } else if (piece === "}" || piece === "]") {
      depth -= 1;
      const before = parts[at - 1];
      if (before !== "{" && before !== "[") line();
      out.push(piece);
    } else if (piece === ",") {
      out.push(piece);
      line();
    } else if (piece === ":") {
      out.push(": ");
    } else {
      const kind = next === ":" ? "key" : piece.startsWith('"') ? "text" : "value";
      out.push(html`<span class=${kind}>${piece}</span>`);
    }
  });
  return html`<pre class="body" tabindex="0" aria-label="Body, laid out">${out}</pre>`;
}
