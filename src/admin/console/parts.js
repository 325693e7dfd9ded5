// What several views are made of.

/** Shapes and words for how bad it is: colour is never the only sign. */
const LEVELS = {
  fine: { sign: "●", word: "fine" },
  degraded: { sign: "▲", word: "look here" },
  losing: { sign: "■", word: "losing events" },
  unknown: { sign: "?", word: "unknown" },
};

/** The same for where an event stands with a destination. */
const STATES = { waiting: "◌", retrying: "↻", delivered: "✓", dead: "✕" };

function Level({ level }) {
  const { sign, word } = LEVELS[level];
  return html`<span class="sign ${level}" role="img" aria-label=${word}>${sign}</span>`;
}

function Time({ at, age }) {
  if (!at) return html`<span class="none">never</span>`;
  return html`<time datetime=${at} title="${utc(at)} · ${ago(at)}">${age ? ago(at) : clock(at)}</time>`;
}

function State({ state, children }) {
  return html`<span class="state ${state}"><span aria-hidden="true">${STATES[state]}</span> ${children ?? state}</span>`;
}

function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p><p>${children}</p></div>`;
}

function Problem({ problem, again }) {
  if (!problem) return null;
  return html`<div class="problem" role="alert">
    <p><strong>That did not work:</strong> ${problem.message}${problem.code ? html` <code>${problem.code}</code>` : null}</p>
    ${again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}

/** A view's beginning; focus goes to its title when the view is opened, so that a screen reader says where one is. */
function View({ title, note, actions, children }) {
  return html`<header class="view-head">
      <div><h1 id="title" tabindex="-1">${title}</h1>${note && html`<p class="note">${note}</p>`}</div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}`;
}

/**
 * A table that becomes a list of cards where the screen is narrow. The roles are said because a table whose rows are
 * laid out as blocks loses them.
 */
function Table({ label, columns, rows, rowKey, cells, busy }) {
  return html`<table role="table" aria-label=${label} aria-busy=${busy ? "true" : "false"}>
    <thead role="rowgroup"><tr role="row">
      ${columns.map((column) => html`<th role="columnheader" scope="col" class=${column.class}>${column.title}</th>`)}
    </tr></thead>
    <tbody role="rowgroup">
      ${rows.map((row) => html`<tr role="row" key=${rowKey(row)}>
        ${cells(row).map((cell, at) => html`<td role="cell" class=${columns[at].class} data-label=${columns[at].label ?? columns[at].title}>
          <div class="cell">${cell}</div>
        </td>`)}
      </tr>`)}
    </tbody>
  </table>`;
}

/** Facts by name. */
function Facts({ of, long }) {
  return html`<dl class=${classes("facts", long && "long")}>
    ${of.filter(Boolean).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

function Copy({ text, what }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  if (!navigator.clipboard) return null;
  return html`<button type="button" class="small quiet" aria-label="Copy ${what}" onClick=${copy}>${copied ? "copied" : "copy"}</button>`;
}

/** A question that must be answered before anything else. */
function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    const back = document.activeElement;
    element.current.showModal();
    return () => back?.focus?.();
  }, []);
  return html`<dialog ref=${element} aria-labelledby="dialog-title" onClose=${onClose}>
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}

/** A line through the values of the last `of` minutes, the newest at the right; decoration beside numbers. */
function Spark({ values, of, kind }) {
  const known = values.map((value) => value ?? 0);
  if (known.length < 2) return null;
  const most = Math.max(1, ...known);
  const point = (value, at) => `${(100 - ((known.length - 1 - at) / (of - 1)) * 100).toFixed(1)},${(23 - (value / most) * 22).toFixed(1)}`;
  return html`<svg class="spark ${kind}" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
    <polyline points=${known.map(point).join(" ")} vector-effect="non-scaling-stroke" />
  </svg>`;
}
