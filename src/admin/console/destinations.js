// Each destination: how it is, what waits, and the levers.

/** Minutes that a spark shows. */
const SPARK = 60;

/** What a destination did in each of the last minutes. */
function lastOf(minutes, name, field) {
  return [...minutes.keys()].sort((a, b) => a - b).slice(-SPARK).map((time) => minutes.get(time).destinations.get(name)?.[field]);
}

/** A lever that is under way is not disabled, which would take the focus from whoever pulled it. */
function Lever({ destination, notify }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const { name, status } = destination;
  const verb = status.paused ? "resume" : "pause";
  const pull = async () => {
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      const { paused, held } = await tell(`/api/v1/destinations/${encodeURIComponent(name)}/${verb}`);
      const goesOn = held ? `${name} is resumed, but nothing goes out yet: ${held.reason}` : `${name} goes on: what waited is delivered`;
      notify(paused ? `${name} is paused: events wait, the socket stays up` : goesOn);
    } catch (refused) {
      setProblem(refused);
    } finally {
      setBusy(false);
    }
  };
  return html`<button type="button" class=${status.paused && "main"} aria-disabled=${busy} onClick=${pull} aria-label="${status.paused ? "Resume" : "Pause"} ${name}">
      ${status.paused ? "Resume" : "Pause"}</button>
    <${Problem} problem=${problem} />`;
}

/** Sends the handler a URL validation, which changes nothing, and says what came of it. */
function ProbeButton({ name, notify }) {
  const [busy, setBusy] = useState(false);
  const probe = async () => {
    if (busy) return;
    setBusy(true);
    try {
      const { detail, elapsed_ms } = await tell(`/api/v1/destinations/${encodeURIComponent(name)}/probe`);
      notify(`${name}: ${detail} (${span(elapsed_ms)})`);
    } catch (refused) {
      notify(`${name} could not be asked: ${refused.message}`);
    } finally {
      setBusy(false);
    }
  };
  return html`<button type="button" aria-disabled=${busy} onClick=${probe} aria-label="Probe ${name}">Probe</button>`;
}

function Breaker({ breaker }) {
  if (!breaker) return "closed";
  const probes = breaker.probes > 0 ? `, ${counted(breaker.probes, "probe")} failed` : "";
  return html`<strong>open</strong> since <${Time} at=${breaker.since} />, next probe ${until(breaker.probe_at)}${probes}`;
}

function Destination({ destination, rates, minutes, operator, notify }) {
  const { name, level, sentence, in_summary, status, backlog } = destination;
  const rate = rateOf(rates.destinations, name);
  const failure = status?.last_failure;
  return html`<article class="panel destination ${level}" aria-labelledby="destination-${name}">
    <div class="panel-head">
      <h2 id="destination-${name}"><${Level} level=${level} /> ${name} <span class="word">${destinationWord(destination)}</span></h2>
      <div class="buttons">
        ${status && operator && html`<${Lever} destination=${destination} notify=${notify} /><${ProbeButton} name=${name} notify=${notify} />`}
        ${backlog?.dead > 0 && html`<a class="button" href=${query("#/dead", { destination: name })}>${counted(backlog.dead, "dead letter")}</a>`}
        <a class="button quiet" href=${query("#/events", { destination: name })}>Events</a>
      </div>
    </div>
    <p class="sentence">${in_summary ? "as said above" : sentence.slice(name.length + 2)}</p>
    <div class="figures">
      <div><span>delivered</span><b>${perSecond(rate?.delivered)}</b><${Spark} of=${SPARK} kind="delivered" values=${lastOf(minutes, name, "delivered")} /></div>
      <div><span>failing</span><b>${perSecond(rate?.failed)}</b><${Spark} of=${SPARK} kind="failed" values=${lastOf(minutes, name, "failed")} /></div>
      <div><span>waiting</span><b>${number(backlog?.pending ?? 0)}</b><${Spark} of=${SPARK} kind="backlog" values=${lastOf(minutes, name, "backlog")} /></div>
    </div>
    <${Facts} of=${[
      ["Oldest that waits", backlog?.oldest_pending_at ? html`<${Time} at=${backlog.oldest_pending_at} age />` : "none"],
      ["Delivered in all", number(backlog?.delivered ?? 0)],
      status && ["In flight", number(status.in_flight)],
      status && ["Breaker", html`<${Breaker} breaker=${status.breaker} />`],
      status && ["Last success", html`<${Time} at=${status.last_success_at} />`],
      status && ["Next retry", status.next_retry_at ? until(status.next_retry_at) : "none"],
      status && ["Last failure", failure ? html`<${Time} at=${failure.at} /> ${failure.cause}, <a href="#/events/${failure.event}">event ${failure.event}</a>` : "none"],
    ]} />
  </article>`;
}

function Destinations({ live, minutes, operator, notify }) {
  const { status, rates } = live;
  const configured = status.destinations.filter(({ status }) => status !== null);
  const orphaned = status.destinations.filter(({ status }) => status === null);
  const show = (destination) => html`<${Destination} key=${destination.name} destination=${destination} rates=${rates} minutes=${minutes} operator=${operator} notify=${notify} />`;
  return html`<${View} title="Destinations" note="A paused destination keeps what comes for it, and costs the others nothing. The small lines are the last hour.">
    ${configured.length === 0 && html`<${Empty} title="No destination is configured.">Add a <code>[[destination]]</code> and reload; what comes meanwhile is stored, and nobody wants it.<//>`}
    ${configured.map(show)}
    ${orphaned.length > 0 && html`<h2 class="divider">No longer configured</h2>
      <p class="note">What was stored for them is kept. Configure one again under its old name, and what waits for it is delivered.</p>
      ${orphaned.map(show)}`}
  <//>`;
}
