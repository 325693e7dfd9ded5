// The first look: is anything being lost, and what is to be done?

const WORST_FIRST = { losing: 0, degraded: 1, fine: 2 };

function Overview({ live, minutes }) {
  const { status, rates } = live;
  // The list is asked for again when a gap opens or closes.
  const openGaps = status.open_gaps.map(({ id }) => id).join();
  const gaps = useAnswer("/api/v1/gaps?limit=200");
  useEffect(() => gaps.again(), [openGaps]);
  const parts = [...status.subscriptions, ...status.destinations, status.spool, status.configuration, status.certificate].filter(Boolean)
    .sort((a, b) => WORST_FIRST[a.level] - WORST_FIRST[b.level]);
  return html`<${View} title="Overview">
    <section class="panel" aria-labelledby="lanes-title">
      <h2 id="lanes-title" class="unseen">The way of the events</h2>
      <${Lanes} status=${status} rates=${rates} />
    </section>
    <${Timeline} minutes=${minutes} gaps=${gaps.data?.gaps ?? status.open_gaps} startedAt=${status.started_at} />
    <section class="panel" aria-labelledby="parts-title">
      <h2 id="parts-title">What each part says</h2>
      <ul class="sentences">
        ${parts.map(({ level, sentence, brief, in_summary }) => html`<li><${Level} level=${level} /> <span>${in_summary ? `${brief}, as said above` : sentence}</span></li>`)}
      </ul>
    </section>
  <//>`;
}
