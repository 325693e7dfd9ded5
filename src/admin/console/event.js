// One event with all that is known of it.

function Masked({ what, children }) {
  const [open, setOpen] = useState(false);
  if (open) return children;
  return html`<div class="masked"><p>It may name people.</p>
    <button type="button" onClick=${() => setOpen(true)}>Show ${what}</button></div>`;
}

function Body({ event }) {
  const [raw, setRaw] = useState(false);
  const text = event.body ?? event.body_base64;
  if (event.payload_hidden) {
    return html`<${Empty} title="The body is hidden.">This token may see what happened, not what was said.<//>`;
  }
  const binary = event.body === undefined;
  return html`<${Masked} what="the body">
    <div class="panel-head">
      <div class="choice" role="group" aria-label="Form of the body">
        <button type="button" aria-pressed=${!raw} disabled=${binary} onClick=${() => setRaw(false)}>Pretty</button>
        <button type="button" aria-pressed=${raw || binary} onClick=${() => setRaw(true)}>Raw</button>
      </div>
      <${Copy} text=${text} what="the body" />
    </div>
    ${binary && html`<p class="note">It is no text; this is its base 64.</p>`}
    ${raw || binary
      ? html`<pre class="body raw" tabindex="0" aria-label="Body, byte for byte">${text}</pre>`
      : html`<${Pretty} text=${text} />`}
  <//>`;
}

function Attempts({ attempts, hidden }) {
  if (attempts.length === 0) {
    return html`<p class="note">No attempt failed. Attempts that a handler accepted leave no row of their own.</p>`;
  }
  const slowest = Math.max(1, ...attempts.map(({ elapsed_ms }) => elapsed_ms));
  const columns = [
    { title: "At" }, { title: "Destination" }, { title: "Attempt", class: "num" }, { title: "Took", class: "num" },
    { title: "Came to" }, { title: "Answer", class: "grow" },
  ];
  const cells = ({ at, destination, attempt, elapsed_ms, cause, excerpt }) => [
    html`<${Time} at=${at} />`, destination, attempt === 0 ? html`<span class="none">not counted</span>` : attempt,
    html`${span(elapsed_ms)} <svg class="bar" viewBox="0 0 60 4" aria-hidden="true"><rect width=${Math.max(1, (60 * elapsed_ms) / slowest)} height="4" /></svg>`,
    cause,
    excerpt ? html`<${Masked} what="the answer"><pre class="excerpt" tabindex="0">${excerpt}</pre><//>` : html`<span class="none">${hidden ? "hidden" : "empty"}</span>`,
  ];
  return html`<${Table} label="Failed attempts" columns=${columns} rows=${attempts} rowKey=${({ destination, attempt, at }) => `${destination} ${attempt} ${at}`} cells=${cells} />`;
}

function EventView({ id, operator, notify }) {
  const { data: event, problem, again } = useAnswer(`/api/v1/events/${encodeURIComponent(id)}`);
  const [replay, setReplay] = useState(null);
  const back = html`<a class="button quiet" href="#/events">All events</a>`;
  if (!event) {
    return html`<${View} title="Event ${id}" actions=${back}><${Problem} problem=${problem} again=${again} /><//>`;
  }
  const happened = event.event_ts === null ? null : new Date(event.event_ts).toISOString();
  const columns = [{ title: "Destination" }, { title: "State" }, { title: "Attempts", class: "num" }, { title: "Last outcome", class: "grow" }, { title: "When" }, { title: "", label: "Action" }];
  const holds = (destination) => event.held.find((held) => held.destination === destination);
  const when = ({ destination, due, settled_at }) => {
    const held = holds(destination);
    if (settled_at) return html`<${Time} at=${settled_at} />`;
    if (held) return html`<span class="note">Held: ${held.reason}</span>`;
    return due ? html`due <${Time} at=${due} />` : html`<span class="none">waits</span>`;
  };
  const cells = ({ destination, state, attempts, outcome, due, settled_at }) => [
    destination,
    html`<${State} state=${state} />`,
    attempts,
    outcome ?? html`<span class="none">none yet</span>`,
    when({ destination, due, settled_at }),
    state === "dead" && operator
      ? html`<button type="button" class="small" onClick=${() => setReplay([{ events: [event.id], destination }])}>Replay…</button>`
      : null,
  ];
  return html`<${View} title=${event.kind || "(no type)"} note="Event ${event.id}, received ${ago(event.received_at)}" actions=${back}>
    <${Problem} problem=${problem} again=${again} />
    <section class="panel" aria-labelledby="facts-title">
      <h2 id="facts-title">What came</h2>
      <${Facts} of=${[
        ["Received", html`<${Time} at=${event.received_at} />`],
        happened && ["Happened", html`<${Time} at=${happened} /> <span class="none">received ${span(new Date(event.received_at) - new Date(happened))} later</span>`],
        ["Subscription", event.subscription],
        ["Size", size(event.size)],
        ["Repeats", event.repeats === 0 ? "none" : `the same body came ${counted(event.repeats, "more time")}`],
        event.parked && ["Kept, not delivered", event.parked],
      ]} />
    </section>
    <section class="panel" aria-labelledby="deliveries-title">
      <h2 id="deliveries-title">Where it stands</h2>
      ${event.deliveries.length === 0
        ? html`<${Empty} title="Nobody wanted it.">No destination's <code>events</code> fit this type when it came.<//>`
        : html`<${Table} label="Deliveries" columns=${columns} rows=${event.deliveries} rowKey=${({ destination }) => destination} cells=${cells} />`}
    </section>
    <section class="panel" aria-labelledby="attempts-title">
      <h2 id="attempts-title">Failed attempts</h2>
      <${Attempts} attempts=${event.attempts} hidden=${event.payload_hidden} />
    </section>
    <section class="panel" aria-labelledby="signature-title">
      <h2 id="signature-title">What handlers verify</h2>
      <${Facts} long of=${[
        ["x-zm-request-id", html`<code class="break">${event.request_id}</code> <${Copy} text=${event.request_id} what="the request id" />`],
        event.digest && ["Digest of the body", html`<code class="break">${event.digest}</code> <${Copy} text=${event.digest} what="the digest" />`],
        ["x-zm-signature", html`<code class="break">v0=hex(HMAC-SHA256(secret token, "v0:" + x-zm-request-timestamp + ":" + body))</code>`],
      ]} />
      <p class="note">Every attempt carries the same body and request id, and a fresh timestamp and signature. Refused signatures: <code>zoomhook verify</code> says why.</p>
    </section>
    <section class="panel" aria-labelledby="body-title">
      <h2 id="body-title">Body</h2>
      <${Body} event=${event} />
    </section>
    ${replay && html`<${Replay} requests=${replay} notify=${notify} onClose=${(done) => { setReplay(null); if (done) again(); }} />`}
  <//>`;
}
