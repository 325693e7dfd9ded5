// The way of the events: subscriptions, the spool, destinations, and how much flows between them.

const NODE = { height: 76, tall: 94, gap: 12, top: 26 };
/** Below this width the three columns are put under each other. */
const NARROW = 640;

const LINKS = {
  live: "live", connecting: "connecting", waiting: "no socket", parked: "refused by Zoom",
  contended: "taken away", stopped: "stopped",
};

const rateOf = (rates, name) => rates?.find((rate) => rate.name === name);

/** A destination whose oldest event waits longer than this is behind. */
const BEHIND = 60000;

/** One word for how a destination is. */
function destinationWord({ status, backlog }) {
  if (!status) return "no longer configured";
  if (status.paused) return "paused";
  if (status.breaker) return "breaker open";
  if (status.failing_since) return "failing";
  const oldest = backlog?.oldest_pending_at;
  return oldest && bridgeClock.now() - new Date(oldest) > BEHIND ? "behind" : "taking events";
}

function subscriptionNode(subscription, rates) {
  const { name, level, status } = subscription;
  const rate = rateOf(rates.subscriptions, name)?.received;
  const lag = status?.last_event_lag_ms;
  return {
    name, level, rate, href: "#/gaps",
    word: status?.stalled ? "open, not read" : LINKS[status?.link] ?? "unknown",
    figures: [perSecond(rate), status?.last_event_at ? `last ${ago(status.last_event_at)}` : "no event yet",
      lag > 60000 ? `${span(lag)} late` : null],
    flows: status?.link === "live",
  };
}

function destinationNode(destination, rates) {
  const { name, level, status, backlog } = destination;
  const rate = rateOf(rates.destinations, name);
  return {
    name, level, rate: rate?.delivered, href: "#/destinations",
    word: destinationWord(destination),
    figures: [perSecond(rate?.delivered), `${number(backlog?.pending ?? 0)} waiting`,
      backlog?.pending > 0 && backlog.oldest_pending_at ? `oldest ${span(bridgeClock.now() - new Date(backlog.oldest_pending_at))}` : null,
      rate?.failed > 0 ? `${perSecond(rate.failed)} failing` : null,
      backlog?.dead > 0 ? `${number(backlog.dead)} dead` : null],
    flows: Boolean(status) && !status.paused && !status.breaker,
  };
}

function spoolNode({ spool, destinations }) {
  const sum = (field) => destinations.reduce((sum, { backlog }) => sum + (backlog?.[field] ?? 0), 0);
  return {
    name: "spool", level: spool.level, href: "#/events",
    word: spool.writable ? "takes events" : "takes no events",
    figures: [`${number(sum("pending"))} waiting`, `${number(sum("dead"))} dead`],
    flows: true,
  };
}

/** Says where each node goes for a width, and the lines between them. */
function layOut(width, sources, spool, targets) {
  if (width < NARROW) {
    const nodes = [...sources, spool, ...targets];
    const step = NODE.tall + NODE.gap;
    const place = (node, at) => ({ node, left: 18, top: at * step, width: width - 18, height: NODE.tall });
    const placed = nodes.map(place);
    const middle = (box) => box.top + NODE.tall / 2;
    const hub = middle(placed[sources.length]);
    const line = (box) => ({ node: box.node, path: `M6,${hub} L6,${middle(box)} L18,${middle(box)}` });
    return { height: nodes.length * step - NODE.gap, placed, lines: placed.map(line), heads: [] };
  }
  const step = NODE.height + NODE.gap;
  const rows = Math.max(sources.length, targets.length, 1);
  const height = NODE.top + rows * step - NODE.gap;
  const columns = [[0, 0.29], [0.37, 0.25], [0.7, 0.3]].map(([left, share]) => [left * width, share * width]);
  const column = (nodes, [left, share]) => {
    const first = NODE.top + ((rows - nodes.length) * step) / 2;
    return nodes.map((node, at) => ({ node, left, top: first + at * step, width: share, height: NODE.height }));
  };
  const [from, [middle], to] = [column(sources, columns[0]), column([spool], columns[1]), column(targets, columns[2])];
  const curve = (x1, y1, x2, y2) => `M${x1},${y1} C${(x1 + x2) / 2},${y1} ${(x1 + x2) / 2},${y2} ${x2},${y2}`;
  const y = (box) => box.top + NODE.height / 2;
  const lines = [
    ...from.map((box) => ({ node: box.node, path: curve(box.left + box.width, y(box), middle.left, y(middle)) })),
    ...to.map((box) => ({ node: box.node, path: curve(middle.left + middle.width, y(middle), box.left, y(box)) })),
  ];
  const heads = ["From Zoom", "On disk", "To handlers"].map((text, at) => ({ text, left: columns[at][0] }));
  return { height, placed: [...from, middle, ...to], lines, heads };
}

function Lanes({ status, rates }) {
  const element = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(element.current.clientWidth));
    const watch = new ResizeObserver(measure);
    watch.observe(element.current);
    measure();
    return () => watch.disconnect();
  }, []);
  const sources = status.subscriptions.map((subscription) => subscriptionNode(subscription, rates));
  const targets = status.destinations.map((destination) => destinationNode(destination, rates));
  const { height, placed, lines, heads } = layOut(width, sources, spoolNode(status), targets);
  const stroke = ({ rate }) => 1.5 + Math.min(4, 1.5 * Math.log10(1 + (rate ?? 0)));
  return html`<div class="lanes" ref=${element} style=${{ height: `${height}px` }}>
    ${width > 0 && html`
      <svg width=${width} height=${height} aria-hidden="true">
        ${lines.map(({ node, path }) => html`<path class=${classes(node.level, !node.flows && "cut")} d=${path} stroke-width=${stroke(node)} />`)}
      </svg>
      ${heads.map(({ text, left }) => html`<p class="lane-head" style=${{ left: `${left}px` }}>${text}</p>`)}
      ${placed.map(({ node, left, top, width, height }) => html`
        <a class="node ${node.level}" href=${node.href} style=${{ left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` }}>
          <span class="node-name"><${Level} level=${node.level} /> <b>${node.name}</b></span>
          <span class="node-word">${node.word}</span>
          <span class="node-figures">${node.figures.filter(Boolean).map((figure) => html`<span>${figure}</span> `)}</span>
        </a>`)}`}
  </div>`;
}
