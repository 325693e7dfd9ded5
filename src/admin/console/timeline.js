// The last hours, minute by minute: what came, what was delivered, what failed, and when no socket was live.

const RANGES = [["1 h", 1], ["6 h", 6], ["24 h", 24]];
const TIMELINE_HEIGHT = 190;

/** Puts a stretch of minutes into what is known already. */
function withMinutes(known, { times, received, destinations }) {
  const minutes = new Map(known);
  times.forEach((time, at) => {
    const rows = destinations
      .filter(({ delivered }) => delivered[at] !== null)
      .map(({ name, delivered, failed, backlog }) => [name, { delivered: delivered[at], failed: failed[at], backlog: backlog[at] }]);
    minutes.set(time, { received: received[at], destinations: new Map(rows) });
  });
  return minutes;
}

/** Returns the columns of a range: times, received, delivered, failed (negative). */
function columns(minutes, from) {
  const times = [...minutes.keys()].filter((time) => time >= from).sort((a, b) => a - b);
  const sum = (time, field) => [...minutes.get(time).destinations.values()].reduce((sum, row) => sum + row[field], 0);
  return [
    times,
    times.map((time) => minutes.get(time).received),
    times.map((time) => sum(time, "delivered")),
    // Failures hang below the line: they are not a part of what was delivered.
    times.map((time) => -sum(time, "failed")),
  ];
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Paints the times without a socket: the first thing that one looks for. */
function paintGaps(plot, gaps) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { from, to } of gaps) {
    const left = plot.valToPos(from, "x", true);
    // A gap of seconds must be seen in a day.
    const width = Math.max(3 * ratio, plot.valToPos(to, "x", true) - left);
    ctx.fillStyle = colour("--gap");
    ctx.fillRect(left, bbox.top, width, bbox.height);
    ctx.fillStyle = colour("--losing");
    ctx.fillRect(left, bbox.top, width, 3 * ratio);
  }
  ctx.restore();
}

function plotOptions(width, range, gapsNow, onCursor) {
  const axis = {
    stroke: colour("--muted"), font: "11px system-ui, sans-serif", gap: 4,
    grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
  };
  const bars = uPlot.paths.bars({ size: [0.9, 30], align: 1 });
  return {
    width, height: TIMELINE_HEIGHT, legend: { show: false }, padding: [6, 18, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true, range: () => range() }, y: { range: (_, least, most) => [Math.min(0, least * 1.15), Math.max(4, most * 1.08)] } },
    axes: [
      { ...axis, size: 24, space: 60, values: (_, times) => times.map((time) => CLOCK_SHORT.format(time * 1000)) },
      { ...axis, size: 48, space: 36, values: (_, values) => values.map((value) => (Number.isInteger(value) ? number(Math.abs(value)) : "")) },
    ],
    series: [
      {},
      { label: "received", stroke: colour("--received"), width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      { label: "delivered", stroke: "transparent", fill: colour("--delivered"), paths: bars, points: { show: false } },
      { label: "failed", stroke: "transparent", fill: colour("--failed"), paths: bars, points: { show: false } },
    ],
    hooks: { drawAxes: [(plot) => paintGaps(plot, gapsNow())], setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)] },
  };
}

function Timeline({ minutes, gaps, startedAt }) {
  const [hours, setHours] = useState(1);
  const [cursor, setCursor] = useState(null);
  const element = useRef(null);
  const chart = useRef(null);
  const now = Math.floor(bridgeClock.now() / 1000);
  const from = now - hours * 3600;
  const data = useMemo(() => columns(minutes, from), [minutes, from]);
  const bands = gaps
    .map(({ opened_at, closed_at }) => ({ from: new Date(opened_at) / 1000, to: closed_at ? new Date(closed_at) / 1000 : now }))
    .filter(({ to }) => to >= from);

  // What the chart reads whenever it draws.
  const current = useRef({});
  current.current = { range: [from, now + 5], bands };
  useLayoutEffect(() => {
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const build = () => {
      chart.current?.destroy();
      const width = element.current.clientWidth;
      const options = plotOptions(width, () => current.current.range, () => current.current.bands, setCursor);
      chart.current = new uPlot(options, data, element.current);
    };
    const resize = new ResizeObserver(() => chart.current.setSize({ width: element.current.clientWidth, height: TIMELINE_HEIGHT }));
    build();
    resize.observe(element.current);
    scheme.addEventListener("change", build);
    return () => {
      resize.disconnect();
      scheme.removeEventListener("change", build);
      chart.current.destroy();
    };
  }, []);
  useEffect(() => chart.current.setData(data), [data, now]);

  const total = (column) => data[column].reduce((sum, value) => sum + value, 0);
  const shown = (column) => number(Math.abs(cursor === null ? total(column) : data[column][cursor] ?? 0));
  const when = cursor === null || data[0][cursor] === undefined ? `last ${hours === 1 ? "hour" : `${hours} hours`}` : `minute of ${CLOCK_SHORT.format(data[0][cursor] * 1000)}`;
  const lost = bands.reduce((sum, { from: opened, to }) => sum + (to - Math.max(opened, from)), 0) * 1000;
  return html`<section class="panel" aria-labelledby="timeline-title">
    <div class="panel-head">
      <h2 id="timeline-title">The last hours</h2>
      <div class="choice" role="group" aria-label="Range">
        ${RANGES.map(([text, value]) => html`<button type="button" aria-pressed=${hours === value} onClick=${() => setHours(value)}>${text}</button>`)}
      </div>
    </div>
    <p class="legend"><span class="when">${when}</span>
      <span class="key received">received <b>${shown(1)}</b></span>
      <span class="key delivered">delivered <b>${shown(2)}</b></span>
      <span class="key failed">failed attempts <b>${shown(3)}</b></span>
      <span class="key gap">${bands.length === 0 ? "no gap" : html`${counted(bands.length, "gap")} <b>${span(lost)}</b>`}</span>
    </p>
    <div class="chart" ref=${element} role="img" style=${{ height: `${TIMELINE_HEIGHT}px` }}
      aria-label="Events per minute, ${when}: ${shown(1)} received, ${shown(2)} delivered, ${shown(3)} failed attempts, ${counted(bands.length, "gap")}" />
    <p class="note">Events per minute. It is kept in memory, since the bridge started at <${Time} at=${startedAt} />; gaps are from the spool.</p>
  </section>`;
}
