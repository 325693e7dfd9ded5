// What was received, found by text, type, time, destination and state.

const PAGE = 50;
const TIMES = [["", "any time"], ["15m", "last 15 minutes"], ["1h", "last hour"], ["6h", "last 6 hours"], ["24h", "last 24 hours"], ["between", "between…"]];

/** What the API is asked for a choice in the address. */
function eventsQuery(choice) {
  const { when, from, to, ...rest } = choice;
  const instant = (local) => (local ? new Date(local).toISOString() : undefined);
  const time = when === "between" ? { since: instant(from), until: instant(to) } : { since: when };
  return query("/api/v1/events", { ...rest, ...time, limit: PAGE });
}

function Deliveries({ deliveries, parked }) {
  if (parked) return html`<span class="state dead">kept, not delivered: ${parked}</span>`;
  if (deliveries.length === 0) return html`<span class="none">nobody wanted it</span>`;
  return deliveries.map(({ destination, state, attempts }) => html`<${State} state=${state}>
      ${destination}${state === "delivered" ? null : `, ${state}`}${attempts > 1 ? html` <span class="none">×${attempts}</span>` : null}
    <//> `);
}

/** The fields are the reader's while they type: what is drawn anew every second leaves them alone. */
function EventsForm({ choice, destinations, operator, go }) {
  const [between, setBetween] = useState(choice.when === "between");
  const submit = (event) => {
    event.preventDefault();
    go(Object.fromEntries(new FormData(event.target)));
  };
  const option = (chosen) => ([value, text]) => html`<option value=${value} selected=${value === (chosen ?? "")}>${text}</option>`;
  return html`<form class="filter" role="search" aria-label="Events" onSubmit=${submit}>
    <label class="wide">Text<input name="q" type="search" maxlength="200" defaultValue=${choice.q ?? ""} placeholder=${operator ? "topic, meeting id, request id, event" : "type, request id, event"} autocapitalize="off" spellcheck="false" /></label>
    <label class="wide">Type<input name="type" type="search" defaultValue=${choice.type ?? ""} placeholder="meeting.* or recording.completed" autocapitalize="off" spellcheck="false" /></label>
    <label>Destination<select name="destination">${[["", "any"], ...destinations.map((name) => [name, name])].map(option(choice.destination))}</select></label>
    <label>State<select name="state">${[["", "any"], ...Object.keys(STATES).map((state) => [state, state])].map(option(choice.state))}</select></label>
    <label>Received<select name="when" onChange=${(event) => setBetween(event.target.value === "between")}>${TIMES.map(option(choice.when))}</select></label>
    ${between && html`
      <label>From<input name="from" type="datetime-local" step="1" defaultValue=${choice.from ?? ""} /></label>
      <label>To<input name="to" type="datetime-local" step="1" defaultValue=${choice.to ?? ""} /></label>`}
    <label class="tick"><input name="parked" type="checkbox" value="true" defaultChecked=${choice.parked === "true"} /> not understood</label>
    <div class="buttons"><button type="submit" class="main">Search</button> <a class="button quiet" href="#/events">Clear</a></div>
  </form>`;
}

/** How far a search has come. Where it is changes too often to be spoken. */
function searched({ data, loading, stopped, parts }) {
  const found = data.events.length === 0 ? null : counted(data.events.length, "event");
  if (loading && parts > 0) return html`Looking on: ${found ?? "nothing"} so far<span aria-hidden="true">, down to event ${data.next}</span>`;
  if (loading) return "Reading…";
  if (stopped) return `Stopped at event ${data.next}: ${found ?? "nothing"} found`;
  return found ? `${found}, newest first` : "No event";
}

function Events({ choice, live, operator }) {
  const path = eventsQuery(choice);
  const search = useSearch(path, PAGE);
  const { data, problem, loading, stopped, stop, again } = search;
  const destinations = live.status.destinations.map(({ name }) => name);
  const go = (parameters) => { location.hash = query("#/events", parameters); };

  // How many came since the list was read: it does not move under the reader's eyes. Of a list that leaves events out,
  // the first one does not say when it was read.
  const filtered = Object.keys(choice).length > 0;
  const seen = useMemo(() => (filtered ? live.newest_event : data?.events[0]?.id ?? 0), [data]);
  const newer = data && !choice.before ? Math.max(0, live.newest_event - seen) : 0;

  const columns = [
    { title: "Received" }, { title: "Event", class: "num" }, { title: "Type", class: "grow" }, { title: "Size", class: "num" },
    { title: "Deliveries" },
  ];
  const cells = (event) => [
    html`<${Time} at=${event.received_at} />`,
    html`<a href="#/events/${event.id}" aria-label="Event ${event.id}">${event.id}</a>`,
    html`<a class="type" href="#/events/${event.id}" tabindex="-1">${event.kind || "(no type)"}</a>${event.repeats > 0 ? html` <span class="none">came ${event.repeats + 1} times</span>` : null}`,
    size(event.size),
    html`<${Deliveries} deliveries=${event.deliveries} parked=${event.parked} />`,
  ];
  return html`<${View} title="Events" note="Delivered events are kept for the retention of the spool; what waits or is dead is kept whatever its age.">
    <${EventsForm} key=${JSON.stringify(choice)} choice=${choice} destinations=${destinations} operator=${operator} go=${go} />
    <${Problem} problem=${problem} again=${again} />
    ${data && html`
      <p class="list-note" role="status">
        <span>${searched(search)}</span>
        ${loading && search.parts > 0 && html`<button type="button" class="small stop" onClick=${stop}>Stop</button>`}
        <button type="button" class="small" aria-disabled=${newer === 0} onClick=${again}>${newer > 0 ? `${number(newer)} newer: show` : "nothing newer"}</button>
      </p>
      ${data.events.length === 0 && (loading || stopped) ? null : data.events.length === 0
        ? html`<${Empty} title=${filtered ? "No event fits." : "No event yet."}>
            ${filtered ? "Try a shorter text, a wider pattern, such as meeting.*, or another time." : "What Zoom sends appears here as soon as it is stored."}<//>`
        : html`<${Table} label="Events" columns=${columns} rows=${data.events} rowKey=${(event) => event.id} cells=${cells} busy=${loading} />`}
      <nav class="pages" aria-label="Pages">
        ${choice.before && html`<a class="button" href=${query("#/events", { ...choice, before: "" })}>Newest</a>`}
        ${data.next && !loading && html`<a class="button" href=${query("#/events", { ...choice, before: data.next })}>${stopped ? "Look on" : "Older"}</a>`}
      </nav>`}
  <//>`;
}
